use std::io::Write;

use super::*;

/// Reads user data from a file called `u`.
fn say(bytes: &[u8]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("u");
    std::fs::write(&path, bytes).unwrap();
    read_user_data(&path).map_err(|e| format!("{e:#}"))
}

/// Where and why user data is refused.
fn refused(text: &str) -> String {
    let error = say(text.as_bytes()).unwrap_err();
    let at = error.find("/u").unwrap();
    error[at + 1..].to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn bad_input_28_user_data_that_cloud_init_would_drop_is_refused_with_its_place() {
    say(b"#cloud-config\npackages: [vim]\n").unwrap();
    say(b"#cloud-config\n").unwrap();
    say(b"#!/bin/sh\n: not yaml {\n").unwrap();
    assert!(refused("packages: [vim]\n").contains("#cloud-config"));
    let error = refused("#cloud-config\na: 1\nb: [1, 2\nc: 3\n");
    assert!(
        error.starts_with("u:4:") || error.starts_with("u:3:"),
        "{error}"
    );
    let error = refused("#cloud-config\n- a\n");
    assert!(error.starts_with("u:2:1: expected a mapping"), "{error}");
    let error = say(b"#cloud-config\n\xff\xfe").unwrap_err();
    assert!(error.contains("byte 15 is not UTF-8"), "{error}");
    let long = [b"#!".as_slice(), &vec![b'x'; LONGEST]].concat();
    assert!(say(&long).unwrap_err().contains("or less"));
    assert!(read_user_data(Path::new("/none")).is_err());
}

#[test]
fn each_form_that_cloud_init_knows_is_taken() {
    const MIME: &str = "Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n--b\nContent-Type: text/cloud-config\n\na: 1\n--b--\n";
    for text in [
        "#cloud-config\na: 1\n",
        "#Cloud-Config\r\na: 1\r\n",
        "#cloud-config\n---\na: 1\n...\n",
        "#!/bin/sh\necho 'MIME-Version: 1.0'\n",
        "#cloud-boothook\n#!/bin/sh\ntrue\n",
        "#include\nhttp://h/x\n",
        "#include http://h/x\n# a remark\n",
        "#include-once\nhttps://h/x\n",
        "#part-handler\ndef list_types(): return ['text/x']\n",
        "#cloud-config-archive\n- a: 1\n  content: 'a: 1'\n- type: text/x-shellscript\n  content: |\n    #!/bin/sh\n- '#!/bin/sh'\n",
        "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/a\", \"value\": 1}]\n",
        "## template: jinja\n#cloud-config\nhostname: {{ ds.meta_data.local_hostname }}\n",
        "## template: jinja\n{% if true %}\n#cloud-config\na: 1\n{% endif %}\n",
        "#cloud-config\nusers: [default, {name: ann}]\n",
        "#cloud-config\nusers: {ann: {}}\n",
        MIME,
        &MIME.replace('\n', "\r\n"),
        &format!(
            "From nobody Thu Jan  1 00:00:00 1970\n{}",
            MIME.replace("MIME-Version", "mime-version")
        ),
        "MIME-Version: 1.0\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n#!/bin/sh\n--b\nContent-Type: text/part-handler\n\n#part-handler\n--b\nContent-Type: text/x-mine\n\nmine\n--b--\n",
    ] {
        assert_eq!(say(text.as_bytes()).as_deref(), Ok(text));
        let blank = format!("\n  \n\t\n{text}");
        assert_eq!(
            say(blank.as_bytes()).as_deref(),
            Ok(text),
            "blank lines at the start"
        );
        assert_eq!(say(&gzip(text.as_bytes())).as_deref(), Ok(text), "gzip");
    }
}

#[test]
fn two_yaml_documents_are_refused_with_the_line_of_the_second() {
    let two = "#cloud-config\na: 1\n---\nb: 2\n";
    assert!(
        refused(two).starts_with("u:3: a second YAML document"),
        "{}",
        refused(two)
    );
    assert!(refused(&format!("\n\n{two}")).starts_with("u:5: a second YAML document"));
    assert!(refused("#cloud-config\na: 1\n---\n").starts_with("u:3: a second"));
    assert!(
        refused("## template: jinja\n#cloud-config\na: {{ v1.region }}\n---\nb: 2\n")
            .starts_with("u:4: a second")
    );
    let message = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\n{two}--b--\n"
    );
    assert!(
        refused(&message).starts_with("u:9: a second"),
        "{}",
        refused(&message)
    );
    let archive = "#cloud-config-archive\n- a\n- type: text/cloud-config\n  content: |\n    a: 1\n    ---\n    b: 2\n";
    let error = refused(archive);
    assert!(
        error.starts_with("u:2: in this part, line 1: expected a mapping"),
        "{error}"
    );
    let error = refused(&archive.replace("- a\n", ""));
    assert!(error.starts_with("u:5: a second"), "{error}");
}

#[test]
fn a_script_whose_lines_end_with_cr_is_refused_with_its_line() {
    for (text, line) in [
        ("#!/bin/sh\r\necho\r\n", 1),
        ("#!/bin/sh\recho\r", 1),
        ("\n#!/usr/bin/env python3\r\n", 2),
        ("#cloud-boothook\r\n#!/bin/sh\r\n", 2),
        ("## template: jinja\r\n#!/bin/sh\r\n", 2),
        ("#cloud-config-archive\n- \"#!/bin/sh\\r\\n\"\n", 2),
        // Coded in base64.
        (
            "MIME-Version: 1.0\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3NoDQo=\n",
            1,
        ),
        (
            "MIME-Version: 1.0\nContent-Type: text/x-shellscript\n\n#!/bin/sh\r\n",
            4,
        ),
    ] {
        let error = refused(text);
        assert!(
            error.starts_with(&format!("u:{line}: ")),
            "{text:?}: {error}"
        );
        assert!(error.contains("end with CR LF"), "{error}");
    }
}

#[test]
fn what_cloud_init_reads_as_nothing_is_named() {
    for (text, words) in [
        ("", "u is empty"),
        (" \n\n", "u is empty"),
        ("\u{feff}#cloud-config\n", "byte order mark"),
        ("I2Nsb3VkLWNvbmZpZwphOiAxCg==\n", "`base64 -d`"),
        (
            "#cloud-config\na: !vault x\n",
            "u:2:4: cloud-init does not know the tag `!vault`",
        ),
        ("#cloud-config\n{{ a }}: 1\n", "expected a text as key"),
        (
            "#cloud-config\na: \"\x1b[31m\"\n",
            "u:2:5: YAML does not allow",
        ),
        (
            "#cloud-config\nusers:\npackages: [vim]\n",
            "u:2:1: `users` holds no list",
        ),
        (
            "#cloud-config\nusers: ann\n",
            "u:2:1: `users` holds no list",
        ),
        ("#cloud-config-archive\na: 1\n", "u:2:1: expected a list"),
        (
            "#cloud-config-archive\n- {type: text/plain}\n",
            "no text as its `content`",
        ),
        ("#cloud-config-jsonp\n{}\n", "expected a list of patches"),
        ("#include\n# nothing\n", "it includes nothing"),
        ("#include\nx.yaml\n", "u:2: `x.yaml` is no address"),
        (
            "## template: jinja\na: {{ b }}\n",
            "u:2: cloud-init does not know",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n",
            "u:1: this MIME message has no parts",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b--\n",
            "in part 1 of the message: its type is text/plain",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: text/x-shellscript\n\necho\n",
            "u:4: a script begins with `#!`",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: text/cloud-config\n\na: [\n",
            "u:5:1: ",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let error = say(b"\x1f\x8bno").unwrap_err();
    assert!(error.contains("packed with gzip and damaged"), "{error}");
    let error = say(&gzip(&vec![b' '; LONGEST + 1])).unwrap_err();
    assert!(error.contains("unpacks to more than"), "{error}");
    let deep = format!("#cloud-config\na: {}", "[".repeat(200_000));
    assert!(say(deep.as_bytes()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_checks_fall_over(start in 0_usize..8, rest in "(\\PC|[\n\r\t:#{}\\[\\]-]){0,80}") {
        const STARTS: [&str; 8] = ["", "#cloud-config\n", "#cloud-config-archive\n- ", "## template: jinja\n", "MIME-Version: 1.0\n", "#include", "#cloud-config-jsonp", "#!"];
        let _either = say(format!("{}{rest}", STARTS[start]).as_bytes());
    }
}
