use super::*;

fn read(text: &str) -> Result<Layer, String> {
    parse(Path::new("kvmc.toml"), text).map_err(|e| e.to_string())
}

fn value(layer: &Layer, key: &str) -> String {
    layer.get(key).unwrap_or_else(|| panic!("no {key}")).0
}

#[test]
fn every_kind_of_value_is_read() {
    let layer = read("masters = 1\nmaster_ram = \"1G\"\ndisk = 8\n[network]\nsubnet = \"10.1.0.0/24\"\n[image]\npackages = [\"vim\", \"curl\"]\n[dns]\nrecords = [\"a A 192.0.2.1\", 'b TXT \"c d\"']\n").unwrap();
    assert_eq!(value(&layer, "masters"), "1");
    assert_eq!(value(&layer, "disk"), "8G");
    assert_eq!(value(&layer, "network.subnet"), "10.1.0.0/24");
    assert_eq!(value(&layer, "image.packages"), "vim curl");
    assert_eq!(value(&layer, "dns.records"), "a A 192.0.2.1 b TXT \"c d\"");
    let path = "kvmc.toml".to_owned();
    assert_eq!(
        layer.get("network.subnet").unwrap().1,
        Source::File { path, line: 5 }
    );
}

#[test]
fn roles_are_read_with_all_settings_of_a_machine() {
    let layer = read(
        "[roles.web]\ncount = 2\nvcpus = 1\nram = \"512M\"\ndisk = 6\nimage = \"debian-13\"\nrestart = \"always\"\ngroups = [\"web\", \"all_of_them\"]\nvars = { port = 8080, name = \"1.10\", on = true, list = [1, 0x10] }\nnetworks = []\nprefix = \"w\"\n[roles.empty]\ncount = 0\n",
    )
    .unwrap();
    for (field, expected) in [
        ("count", "2"),
        ("vcpus", "1"),
        ("ram", "512M"),
        ("disk", "6G"),
        ("image", "debian-13"),
        ("restart", "always"),
        ("groups", "web all_of_them"),
        ("networks", ""),
        ("prefix", "w"),
        (
            "vars",
            "{\"list\":[1,16],\"name\":\"1.10\",\"on\":true,\"port\":8080}",
        ),
    ] {
        assert_eq!(value(&layer, &format!("roles.web.{field}")), expected);
    }
    assert_eq!(value(&layer, "roles.empty.count"), "0");
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_nearest_key() {
    for (text, expected) in [
        (
            "masters = 3\nwrokers = 2\n",
            "kvmc.toml:2: unknown key `wrokers`; did you mean `workers`?",
        ),
        (
            "[network]\n\nsubnit = \"x\"\n",
            "kvmc.toml:3: unknown key `network.subnit`; did you mean `network.subnet`?",
        ),
        (
            "[roles.a]\ncuont = 1\n",
            "kvmc.toml:2: unknown key `cuont`; did you mean `count`?",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
    for far in ["user = 1", "bogus = 1", "[roles.a]\nzzz = 1", "x = 1"] {
        let error = read(far).unwrap_err();
        assert!(error.contains("; expected "), "{error}");
    }
}

#[test]
fn networks_switches_and_forwards_are_read() {
    let layer = read(
        "forward = [\"8080:lbl0:80\", \"53:lbl0:53/udp\"]\n[network]\nipv6 = true\n\n[[networks]]\nname = \"storage\"\nsubnet = \"10.9.0.0/24\"\nipv6 = true\n[[networks]]\nname = \"b\"\nsubnet = \"10.8.0.0/24\"\n",
    )
    .unwrap();
    assert_eq!(value(&layer, "forward"), "8080:lbl0:80 53:lbl0:53/udp");
    assert_eq!(value(&layer, "network.ipv6"), "true");
    assert_eq!(
        value(&layer, "networks"),
        "name=storage,subnet=10.9.0.0/24,ipv6=true; name=b,subnet=10.8.0.0/24"
    );
    for (text, expected) in [
        (
            "[[networks]]\nname = \"a\"\nsubnt = \"x\"\n",
            "kvmc.toml:3: unknown key `subnt`; did you mean `subnet`?",
        ),
        (
            "[[networks]]\nipv6 = \"true\"\n",
            "kvmc.toml:2: `ipv6` must be true or false",
        ),
        (
            "[networks]\nname = \"a\"\n",
            "kvmc.toml:1: `networks` must be a list of tables; write [[networks]]",
        ),
        (
            "[[networks]]\nsubnet = \"10.8.0.0/24\"\n",
            "kvmc.toml:1: a network has no name; add one such as name = \"storage\"",
        ),
        (
            "[network]\nipv6 = \"true\"\n",
            "kvmc.toml:2: `network.ipv6` must be true or false",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
}

#[test]
fn a_mistake_elsewhere_hides_no_clusters_name() {
    let named = |text: &str| cluster_named(Path::new("kvmc.toml"), text);
    let lab = |text: &str| value(&named(text).unwrap(), "cluster");
    assert_eq!(lab("masters = \ncluster = \"lab\"\n"), "lab");
    assert_eq!(lab("cluster = \"lab\"\n[roles\nx"), "lab");
    assert_eq!(named("masters = \n").unwrap(), Layer::default());
    // Which cluster is meant is not known.
    assert!(named("cluster = lab\n").is_err());
    assert!(named("cluster = \"lab\n").is_err());
}

#[test]
fn wrong_types_and_syntax_are_refused() {
    assert_eq!(
        read("masters = \"many\"\nmasters = 3")
            .unwrap_err()
            .split(':')
            .nth(1),
        Some("2"),
        "a duplicate key is an error at its own line"
    );
    for (text, expected) in [
        (
            "master_ram = 2",
            "kvmc.toml:1: `master_ram` must be a size such as \"2G\"",
        ),
        (
            "network = 3",
            "kvmc.toml:1: `network` must be a table; write [network]",
        ),
        (
            "roles = 3",
            "kvmc.toml:1: `roles` must be a table; write [roles]",
        ),
        (
            "roles.a = 3",
            "kvmc.toml:1: `roles.a` must be a table; write [roles.a]",
        ),
        (
            "[roles.a]\nvars = 3",
            "kvmc.toml:2: `roles.a.vars` must be a table",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
    let error = read("[roles.\"A b\"]\n").unwrap_err();
    assert!(error.contains("`A b` is not a role name"), "{error}");
    assert!(read("= =").is_err());
    assert_eq!(read("").unwrap(), Layer::default());
}

#[test]
fn the_clusters_name_is_read_even_if_other_keys_are_wrong() {
    let named = |text| cluster_named(Path::new("kvmc.toml"), text).map(|l| l.get("cluster"));
    let text = "wrokers = 2\ncluster = \"lab\"\n";
    assert_eq!(named(text).unwrap().unwrap().0, "lab");
    assert_eq!(named("wrokers = 2\n"), Ok(None));
    assert_eq!(named("= =").unwrap(), None);
}
