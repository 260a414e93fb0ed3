//! A provider's settings of a machine.

use super::expression::{Names, Value, evaluate};
use super::lines::Line;
use super::words::Arguments;
use crate::convert::draft::Draft;
use crate::convert::roles::Hardware;
use crate::spec::{Bytes, Kind};

/// Reads one statement behind the provider's variable. Notes what it does not carry over.
pub(super) fn read(draft: &mut Draft, line: &Line, rest: &str, names: &Names, into: &mut Hardware) {
    let mut note = |why: &str, instead: &str| draft.note(line.number, &line.text, why, instead);
    let Some((name, value)) = assigned(rest) else {
        if let Some(arguments) = rest.strip_prefix("customize") {
            if !customize(arguments, names, into) {
                note(
                    "this setting of the provider is not known in kvmc",
                    "cpu, vcpus, ram, disk, disks and nested are the settings of a machine",
                );
            }
        } else if let Some(arguments) = rest.strip_prefix("storage") {
            storage(draft, line, arguments, names, into);
        } else {
            note("this line of the provider is not understood", "");
        }
        return;
    };
    let Some(value) = evaluate(value, names) else {
        note("its value is not plain", "set it by hand");
        return;
    };
    let done = match name {
        "memory" => ram(&value).map(|ram| into.ram = Some(ram)),
        "cpus" => vcpus(&value).map(|vcpus| into.vcpus = Some(vcpus)),
        "vmx[\"memsize\"]" | "vmx['memsize']" => ram(&value).map(|ram| into.ram = Some(ram)),
        "vmx[\"numvcpus\"]" | "vmx['numvcpus']" => {
            vcpus(&value).map(|vcpus| into.vcpus = Some(vcpus))
        }
        "nested" => {
            into.nested = Some(value == Value::Switch(true));
            Ok(())
        }
        "machine_virtual_size" => disk(&value).map(|disk| into.disk = Some(disk)),
        "cpu_mode" if value == Value::Text("host-passthrough".to_owned()) => {
            into.cpu = Some("host".to_owned());
            Ok(())
        }
        "cpu_model" => checked(Kind::Cpu, &value.to_string()).map(|cpu| into.cpu = Some(cpu)),
        "linked_clone" => Ok(()),
        "name" => Err("kvmc's nodes have the names of their roles".to_owned()),
        "gui" => Err("kvmc's nodes have no display; they have a console".to_owned()),
        "cpu_mode" => Err("kvmc has cpu = \"host\", \"max\" or a model of QEMU's".to_owned()),
        "driver" | "uri" | "storage_pool_name" | "management_network_name" => {
            Err("kvmc runs QEMU itself, without libvirt".to_owned())
        }
        _ => Err("this setting of the provider is not known in kvmc".to_owned()),
    };
    if let Err(why) = done {
        note(&why, "");
    }
}

/// `name = value`, but no comparison.
pub(super) fn assigned(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_plain =
        !value.starts_with(['=', '>', '~']) && !name.ends_with(['!', '<', '>', '|', '+', '-', ':']);
    let name = name.trim();
    let fine = !name.contains([' ', '(', ',']);
    (is_plain && fine).then_some((name, value.trim()))
}

/// `["modifyvm", :id, "--memory", "1024"]`; whether all of it is carried over.
fn customize(arguments: &str, names: &Names, into: &mut Hardware) -> bool {
    let Some(Value::List(words)) = evaluate(arguments, names) else {
        return false;
    };
    let words: Vec<_> = words.iter().map(ToString::to_string).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let [_, _, options @ ..] = words.as_slice() else {
        return false;
    };
    options.chunks(2).all(|option| {
        let [name, value] = option else {
            return false;
        };
        let value = Value::Text((*value).to_owned());
        match *name {
            "--memory" => ram(&value).map(|ram| into.ram = Some(ram)).is_ok(),
            "--cpus" => vcpus(&value).map(|vcpus| into.vcpus = Some(vcpus)).is_ok(),
            "--nested-hw-virt" => {
                into.nested = Some(value.to_string() == "on");
                true
            }
            _ => false,
        }
    })
}

/// `:file, size: "20G"`
fn storage(draft: &mut Draft, line: &Line, arguments: &str, names: &Names, into: &mut Hardware) {
    let arguments = Arguments::read(arguments);
    let is_file = arguments.plain == [":file"];
    let size = arguments.get("size").and_then(|s| evaluate(s, names));
    match size {
        Some(size) if is_file => match checked(Kind::Disks, &size.to_string()) {
            Ok(size) => into.disks.push(size),
            Err(why) => draft.note(line.number, &line.text, why, ""),
        },
        _ => draft.note(
            line.number,
            &line.text,
            "only new disks with a size are carried over",
            "disks = [\"20G\"] gives nodes a disk",
        ),
    }
    let others = arguments.others(&["size"]);
    if !others.is_empty() && is_file {
        let why = format!("{} of a disk is not carried over", others.join(", "));
        draft.note(line.number, &line.text, why, "");
    }
}

fn ram(value: &Value) -> Result<String, String> {
    let mib = value.number().and_then(|n| u64::try_from(n).ok());
    let mib = mib.filter(|n| *n < 1 << 40);
    let mib = mib.ok_or_else(|| format!("`{value}` is no number of MiB"))?;
    checked(Kind::Ram, &Bytes::mib(mib).to_string())
}

fn vcpus(value: &Value) -> Result<u32, String> {
    let text = value.to_string();
    checked(Kind::Vcpus, &text)?;
    text.trim()
        .parse()
        .map_err(|_| format!("`{text}` is no number of vcpus"))
}

/// A size of a disk: a number of GB, or a text such as `20GB`.
pub(super) fn disk(value: &Value) -> Result<String, String> {
    checked(Kind::Disk, &in_our_units(&value.to_string()))
}

/// The size of an extra disk.
pub(super) fn extra_disk(value: &Value) -> Result<String, String> {
    checked(Kind::Disks, &in_our_units(&value.to_string()))
}

fn in_our_units(text: &str) -> String {
    text.trim().to_uppercase().trim_end_matches('B').to_owned()
}

fn checked(kind: Kind, text: &str) -> Result<String, String> {
    kind.parse(text).map(|value| value.to_string())
}
