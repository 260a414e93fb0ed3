//! NAT: a model, its text, and one atomic apply.

use ipnetwork::Ipv4Network;

use crate::{Change, ExecError, exec};

/// Masquerading for one bridge, in an nft table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// The table, of family `inet`.
    pub table: String,
    /// The bridge that the guests are on.
    pub bridge: String,
    /// The guests' range.
    pub subnet: Ipv4Network,
}

impl Nat {
    /// The text that nft(8) applies in one transaction, so that twice is the same as once.
    #[must_use]
    pub fn render(&self) -> String {
        let Nat {
            table,
            bridge,
            subnet,
        } = self;
        let subnet = format!("{}/{}", subnet.network(), subnet.prefix());
        format!(
            r#"add table inet {table}
delete table inet {table}
table inet {table} {{
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname != "{bridge}" ip saddr {subnet} ip daddr != {{ {subnet}, 224.0.0.0/4, 255.255.255.255 }} masquerade
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname "{bridge}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		oifname "{bridge}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		iifname "{bridge}" accept
		oifname "{bridge}" ct state established,related accept
		oifname "{bridge}" drop
	}}
}}
"#
        )
    }

    /// Applies the table.
    ///
    /// # Errors
    /// nft's, with its words.
    pub fn apply(&self) -> Result<(), ExecError> {
        exec::run("nft", &["-f", "-"], &self.render()).map(drop)
    }

    /// Removes the table; one that is gone is done.
    ///
    /// # Errors
    /// nft's, with its words.
    pub fn remove(&self) -> Result<Change, ExecError> {
        if !self.present()? {
            return Ok(Change::Unchanged);
        }
        let text = format!("add table inet {0}\ndelete table inet {0}\n", self.table);
        exec::run("nft", &["-f", "-"], &text).map(|_| Change::Removed)
    }

    /// Whether the table is there.
    ///
    /// # Errors
    /// nft's, with its words.
    pub fn present(&self) -> Result<bool, ExecError> {
        let tables = exec::run("nft", &["list", "tables"], "")?;
        let wanted = format!("table inet {}", self.table);
        Ok(tables.lines().any(|line| line.trim() == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_replaces_the_table_and_drops_what_is_unasked() {
        let subnet = "192.168.80.0/24".parse().unwrap();
        let text = Nat {
            table: "kvmc_k80".to_owned(),
            bridge: "k80".to_owned(),
            subnet,
        }
        .render();
        assert!(text.starts_with("add table inet kvmc_k80\ndelete table inet kvmc_k80\n"));
        assert!(text.contains("ip saddr 192.168.80.0/24 ip daddr != { 192.168.80.0/24, 224.0.0.0/4, 255.255.255.255 } masquerade"));
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("established,related accept") < at("oifname \"k80\" drop"));
    }
}
