//! Values of a machine: vcpus, RAM, disks, CPU model and address.

use std::net::Ipv4Addr;

use super::size::Bytes;

/// The least RAM with which the template boots.
const LEAST_RAM: Bytes = Bytes::mib(256);
/// More than any machine has today; catches slips such as `100T`.
const MOST_RAM: Bytes = Bytes::gib(12 * 1024);
/// QEMU's q35 and virt allow more, but no host has them.
const MOST_VCPUS: u32 = 255;
const LEAST_DISK: Bytes = Bytes::gib(1);
/// The least extra disk that partitioning tools and LVM can use.
const LEAST_EXTRA: Bytes = Bytes::mib(16);
/// Each is a PCI device, beside the NICs.
const MOST_EXTRA: usize = 8;
const MOST_DISK: Bytes = Bytes::gib(64 * 1024);

pub(super) fn vcpus(text: &str) -> Result<u32, String> {
    match text.trim().parse::<u32>() {
        Ok(n) if (1..=MOST_VCPUS).contains(&n) => Ok(n),
        _ => Err(format!(
            "`{text}` is not a number of vcpus; expected 1 to {MOST_VCPUS}"
        )),
    }
}

pub(super) fn ram(text: &str) -> Result<Bytes, String> {
    let ram = Bytes::parse_ram(text)?;
    if ram < LEAST_RAM {
        return Err(format!(
            "`{text}` of RAM is too little; expected {LEAST_RAM} or more"
        ));
    }
    if ram > MOST_RAM {
        return Err(format!(
            "`{text}` of RAM is too much; expected {MOST_RAM} or less"
        ));
    }
    Ok(ram)
}

pub(super) fn disk(text: &str) -> Result<Bytes, String> {
    let disk = Bytes::parse_disk(text)?;
    if disk < LEAST_DISK {
        return Err(format!(
            "a disk of `{text}` is smaller than the template; expected {LEAST_DISK} or more"
        ));
    }
    if disk > MOST_DISK {
        return Err(format!(
            "a disk of `{text}` is too large; expected {MOST_DISK} or less"
        ));
    }
    Ok(disk)
}

/// The size of an extra disk, which holds no image.
pub(super) fn extra_disk(text: &str) -> Result<Bytes, String> {
    let size = Bytes::parse_disk(text)?;
    if size < LEAST_EXTRA || size > MOST_DISK {
        return Err(format!(
            "an extra disk of `{text}`; expected {LEAST_EXTRA} to {MOST_DISK}"
        ));
    }
    Ok(size)
}

/// Refuses more extra disks than a machine can have.
pub(super) fn extra_disks(sizes: Vec<Bytes>) -> Result<Vec<Bytes>, String> {
    if sizes.len() > MOST_EXTRA {
        return Err(format!(
            "{} extra disks; expected at most {MOST_EXTRA}",
            sizes.len()
        ));
    }
    Ok(sizes)
}

/// The name of a CPU model. `up` asks QEMU whether it has this model.
pub(super) fn cpu(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fine = text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fine && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{}` is not a CPU model; expected host, max or a name such as Skylake-Server",
        text.escape_debug()
    ))
}

pub(super) fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "`{}` is not an address; expected a form such as 192.168.80.50",
            text.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_disks_are_few_and_of_a_useful_size() {
        assert_eq!(extra_disk("20"), Ok(Bytes::gib(20)));
        assert_eq!(extra_disk("64M"), Ok(Bytes::mib(64)));
        for bad in ["0", "1M", "100000T", "x", ""] {
            assert!(extra_disk(bad).is_err(), "{bad}");
        }
        let many = vec![Bytes::gib(1); 9];
        assert_eq!(
            extra_disks(many),
            Err("9 extra disks; expected at most 8".to_owned())
        );
    }

    #[test]
    fn a_cpu_model_holds_no_options_of_qemu() {
        for fine in ["", "host", "max", "Skylake-Server-v4", "cortex-a72", "486"] {
            assert_eq!(cpu(fine), Ok(fine.to_owned()));
        }
        for bad in ["max,la57=off", "-x", "a b", "\u{1b}"] {
            assert!(cpu(bad).is_err(), "{bad}");
        }
    }
}
