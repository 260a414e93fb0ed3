use hickory_proto::rr::{Name, RData, RecordType};

use super::{Record, Zone, ZoneSpec, parse_domain};

fn spec(records: &[&str]) -> ZoneSpec {
    let domain = parse_domain("k80.internal").unwrap();
    let host = |name: &str, end: u8| (name.to_owned(), vec![[192, 168, 80, end].into()]);
    ZoneSpec {
        gateway: vec![[192, 168, 80, 1].into()],
        subnets: vec!["192.168.80.0/24".parse().unwrap()],
        hosts: vec![
            host("master0", 2),
            host("worker0", 3),
            host("lbl0", 4),
            host("lbl1", 5),
        ],
        balancers: vec![[192, 168, 80, 4].into(), [192, 168, 80, 5].into()],
        records: records
            .iter()
            .map(|r| Record::parse(r, &domain).unwrap())
            .collect(),
        serial: 7,
        domain,
    }
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    let name = Name::from_ascii(name).unwrap();
    match zone.look_up(&name, kind) {
        None => "foreign".to_owned(),
        Some(a) => {
            let mut said: Vec<_> = a.records.iter().map(|r| r.data.to_string()).collect();
            if let Some(soa) = &a.soa {
                assert!(matches!(soa.data, RData::SOA(_)));
                let what = if a.exists { "nodata" } else { "nxdomain" };
                said.push(format!("{what} {}", soa.name));
            }
            if let Some(onward) = a.onward {
                said.push(format!("onward {onward}"));
            }
            said.join(", ")
        }
    }
}

#[test]
fn every_name_has_its_answer() {
    use RecordType as T;
    let zone = Zone::new(&spec(&[
        "api A 192.168.80.9",
        "api A 192.168.80.10",
        "www CNAME api",
        "out CNAME example.com.",
        "a.b.c TXT deep",
        "_http._tcp SRV 1 2 80 api",
        "*.apps CNAME www",
        "there.apps TXT x",
        "own.example.com. A 192.168.80.11",
        "*.example.org. A 192.168.80.12",
        "master0 TXT node",
        "x.lb A 192.168.80.13",
        "dev.test. A 192.168.80.14",
    ]))
    .unwrap();
    for (name, kind, answer) in [
        ("master0.k80.internal.", T::A, "192.168.80.2"),
        ("MASTER0.K80.Internal.", T::A, "192.168.80.2"),
        ("master0.", T::A, "192.168.80.2"),
        ("master0.", T::AAAA, "nodata master0."),
        ("master0.k80.internal.", T::AAAA, "nodata k80.internal."),
        ("master0.k80.internal.", T::TXT, "node"),
        ("x.master0.k80.internal.", T::A, "nxdomain k80.internal."),
        ("master9.k80.internal.", T::A, "nxdomain k80.internal."),
        ("master9.", T::A, "nxdomain master9."),
        ("gateway.k80.internal.", T::A, "192.168.80.1"),
        ("k80.internal.", T::NS, "gateway.k80.internal."),
        ("k80.internal.", T::A, "nodata k80.internal."),
        ("lb.k80.internal.", T::A, "192.168.80.4, 192.168.80.5"),
        ("lb.", T::A, "192.168.80.4, 192.168.80.5"),
        ("any.lb.k80.internal.", T::A, "192.168.80.4, 192.168.80.5"),
        ("a.b.lb.k80.internal.", T::A, "192.168.80.4, 192.168.80.5"),
        ("any.lb.k80.internal.", T::AAAA, "nodata k80.internal."),
        ("x.lb.k80.internal.", T::A, "192.168.80.13"),
        (
            "2.80.168.192.in-addr.arpa.",
            T::PTR,
            "master0.k80.internal.",
        ),
        (
            "1.80.168.192.in-addr.arpa.",
            T::PTR,
            "gateway.k80.internal.",
        ),
        (
            "99.80.168.192.in-addr.arpa.",
            T::PTR,
            "nxdomain 80.168.192.in-addr.arpa.",
        ),
        ("80.168.192.in-addr.arpa.", T::NS, "gateway.k80.internal."),
        ("1.81.168.192.in-addr.arpa.", T::PTR, "foreign"),
        ("api.k80.internal.", T::A, "192.168.80.9, 192.168.80.10"),
        (
            "www.k80.internal.",
            T::A,
            "api.k80.internal., 192.168.80.9, 192.168.80.10",
        ),
        ("www.k80.internal.", T::CNAME, "api.k80.internal."),
        (
            "www.k80.internal.",
            T::AAAA,
            "api.k80.internal., nodata k80.internal.",
        ),
        (
            "out.k80.internal.",
            T::A,
            "example.com., onward example.com.",
        ),
        ("c.k80.internal.", T::TXT, "nodata k80.internal."),
        ("b.c.k80.internal.", T::TXT, "nodata k80.internal."),
        ("z.c.k80.internal.", T::TXT, "nxdomain k80.internal."),
        (
            "_http._tcp.k80.internal.",
            T::SRV,
            "1 2 80 api.k80.internal.",
        ),
        (
            "q.apps.k80.internal.",
            T::A,
            "www.k80.internal., api.k80.internal., 192.168.80.9, 192.168.80.10",
        ),
        ("there.apps.k80.internal.", T::A, "nodata k80.internal."),
        ("own.example.com.", T::A, "192.168.80.11"),
        ("own.example.com.", T::AAAA, "nodata own.example.com."),
        ("example.com.", T::A, "foreign"),
        ("x.own.example.com.", T::A, "foreign"),
        ("q.example.org.", T::A, "192.168.80.12"),
        ("example.org.", T::A, "foreign"),
        ("dev.test.", T::A, "192.168.80.14"),
        ("other.test.", T::A, "nxdomain test."),
        ("internal.", T::A, "nxdomain internal."),
        ("k81.internal.", T::A, "foreign"),
        ("printer.local.", T::A, "nxdomain local."),
        ("a.localhost.", T::A, "127.0.0.1"),
        ("localhost.", T::AAAA, "::1"),
        ("localhost.", T::MX, "nodata localhost."),
        ("1.0.0.127.in-addr.arpa.", T::PTR, "localhost."),
        ("_dns.resolver.arpa.", T::SVCB, "nodata resolver.arpa."),
        ("com.", T::DS, "foreign"),
        (".", T::NS, "foreign"),
        (".", T::A, "foreign"),
    ] {
        assert_eq!(ask(&zone, name, kind), answer, "{name} {kind}");
    }
}

#[test]
fn a_part_of_a_reverse_zone_leaves_the_rest_to_others() {
    let mut spec = spec(&[]);
    spec.subnets = vec!["192.168.80.0/26".parse().unwrap()];
    let zone = Zone::new(&spec).unwrap();
    let ptr = |name: &str| ask(&zone, name, RecordType::PTR);
    assert_eq!(ptr("3.80.168.192.in-addr.arpa."), "worker0.k80.internal.");
    assert_eq!(
        ptr("9.80.168.192.in-addr.arpa."),
        "nxdomain 80.168.192.in-addr.arpa."
    );
    assert_eq!(ptr("64.80.168.192.in-addr.arpa."), "foreign");
}

#[test]
fn an_error_names_records_that_conflict() {
    for (records, why) in [
        (
            &["master0 A 192.168.80.9"][..],
            "kvmc serves master0.k80.internal itself",
        ),
        (&["master0. A 192.168.80.9"], "kvmc serves master0 itself"),
        (&["lb CNAME master0"], "kvmc serves lb.k80.internal itself"),
        (&["*.lb A 192.168.80.9"], "; choose another name"),
        (&["@ CNAME example.com."], "; choose another name"),
        (&["a A 192.168.80.9", "a 5 A 192.168.80.9"], "twice"),
        (
            &["a A 192.168.80.9", "a CNAME master0"],
            "CNAME; no other record",
        ),
        (&["a CNAME master0", "a TXT x"], "CNAME; no other record"),
        (&["a CNAME example.com"], "ends with a dot"),
        (&["a MX 5 nobody"], "no nobody.k80.internal"),
        (&["a CNAME b", "b CNAME a"], "form a loop"),
        (&["a CNAME a"], "form a loop"),
    ] {
        let error = Zone::new(&spec(records)).unwrap_err().to_string();
        assert!(error.contains(why), "{records:?}: {error}");
    }
    let lines: Vec<_> = (0..1001).map(|i| format!("r{i} TXT x")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let error = Zone::new(&spec(&lines)).unwrap_err().to_string();
    assert!(
        error.contains("1001 records; expected at most 1000"),
        "{error}"
    );
}
