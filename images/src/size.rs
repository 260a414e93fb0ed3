//! Sizes in messages, in the unit that settings have: `1.5G` is 1.5 times 2^30 bytes.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A size to one decimal: `1.5G`, `512M`.
#[must_use]
pub fn approximate(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let value = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        GIB.. => format!("{:.1}G", value(GIB)),
        _ if bytes > 0 && bytes < MIB => format!("{}K", bytes.div_ceil(1 << 10)),
        _ => format!("{:.0}M", value(MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_settings() {
        for (bytes, shown) in [
            (0, "0M"),
            (1000, "1K"),
            (8 << 20, "8M"),
            (1536 << 20, "1.5G"),
            (5 << 40, "5120.0G"),
        ] {
            assert_eq!(approximate(bytes), shown);
        }
    }
}
