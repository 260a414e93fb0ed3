//! Vagrant's boxes and the images of kvmc's catalogue.

/// Beginnings of the names of boxes behind the publisher, and the image that is the same release. Other releases of these
/// distributions have no row, because a guess would be another system.
const BOXES: [(&str, &[&str], &str); 6] = [
    ("debian", &["bookworm", "12"], "debian-12"),
    ("debian", &["trixie", "13"], "debian-13"),
    ("ubuntu", &["noble", "2404", "24.04"], "ubuntu-24.04"),
    ("ubuntu", &["resolute", "2604", "26.04"], "ubuntu-26.04"),
    ("almalinux", &["10"], "almalinux"),
    ("alpine", &[""], "alpine"),
];

/// The image that is the same release as a box, such as `generic/debian12` or `debian/bookworm64`.
pub(super) fn image_of(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let found = BOXES.iter().find(|(distribution, releases, _)| {
        name.contains(distribution)
            && releases.iter().any(|release| {
                let rest = name.rsplit_once(distribution).map_or("", |(_, rest)| rest);
                let rest = rest.trim_start_matches(['/', '-', '_']);
                rest.starts_with(release)
            })
    });
    found.map(|(_, _, image)| *image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_release_is_taken() {
        for (name, image) in [
            ("debian/bookworm64", Some("debian-12")),
            ("generic/debian12", Some("debian-12")),
            ("bento/debian-13", Some("debian-13")),
            ("bento/ubuntu-24.04", Some("ubuntu-24.04")),
            ("ubuntu/noble64", Some("ubuntu-24.04")),
            ("generic/ubuntu2204", None),
            ("ubuntu/jammy64", None),
            ("debian/buster64", None),
            ("almalinux/9", None),
            ("generic/alpine319", Some("alpine")),
            ("centos/7", None),
            ("", None),
        ] {
            assert_eq!(image_of(name), image, "{name}");
        }
    }
}
