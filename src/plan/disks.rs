//! The size of disks that nobody named.

use std::collections::BTreeMap;

use crate::image::Pick;
use crate::spec::{Bytes, ClusterSpec};

/// Makes disks whose size nobody named as large as their images. An image that does not exist yet has no size.
pub(super) fn grow(spec: &mut ClusterSpec, picks: &BTreeMap<String, Pick>) {
    for role in &mut spec.roles {
        let pick = picks.get(&role.name);
        if pick.is_some_and(|p| p.id.is_empty()) {
            continue;
        }
        if let (true, Some(pick)) = (role.disk_may_grow, pick) {
            role.disk = role.disk.max(Bytes::covering(pick.virtual_size));
        }
        role.disk_may_grow = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::picks;
    use crate::spec::{Key, Layer, Settings, Source, check};

    fn grown(layers: Vec<Layer>, id: &str, size: u64) -> ClusterSpec {
        let mut spec = check(&Settings::resolve(layers)).unwrap();
        let mut picks = picks(&spec);
        for pick in picks.values_mut() {
            pick.virtual_size = size;
            pick.id = id.to_owned();
        }
        grow(&mut spec, &picks);
        spec
    }

    fn disk(spec: &ClusterSpec) -> String {
        spec.roles[0].disk.to_string()
    }

    #[test]
    fn a_disk_that_nobody_sized_is_as_large_as_its_image() {
        assert_eq!(disk(&grown(Vec::new(), "a", 3 << 30)), "4G");
        let larger = grown(Vec::new(), "a", (10 << 30) + 1);
        assert_eq!(disk(&larger), "10241M");
        // The cluster goes on with that size, which is a value like any other then.
        let again = grown(vec![larger.layer()], "a", 3 << 30);
        assert_eq!(again, larger);
    }

    #[test]
    fn a_disk_grows_once_its_image_is_known() {
        let mut spec = grown(Vec::new(), "", 0);
        assert_eq!(disk(&spec), "4G");
        let mut picks = picks(&spec);
        for pick in picks.values_mut() {
            pick.virtual_size = 10 << 30;
        }
        grow(&mut spec, &picks);
        assert_eq!(disk(&spec), "10G");
    }

    #[test]
    fn a_size_that_somebody_named_stays() {
        let mut asked = Layer::default();
        let flag = Source::Flag("--disk".to_owned());
        asked.set_text(Key::cluster("disk"), "5G", flag);
        assert_eq!(disk(&grown(vec![asked], "a", 10 << 30)), "5G");
    }
}
