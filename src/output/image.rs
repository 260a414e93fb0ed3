//! Tables of the store's images and of the catalogue.

use anyhow::Result;
use kvmc_images::Origin;

use super::{data, json, table};
use crate::model::{CatalogueEntry, ImageDetail, ImageReport};
use crate::spec::approximate;

/// Prints all images with their frozen machines.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn images(images: &[ImageReport], as_json: bool) -> Result<()> {
    if as_json {
        return json(&images);
    }
    data(&images_text(images));
    Ok(())
}

pub(super) fn images_text(images: &[ImageReport]) -> String {
    let mut rows = Vec::new();
    for image in images {
        rows.push(vec![
            image.id.clone(),
            image.names(),
            image.architecture.to_string(),
            approximate(image.virtual_size),
            image.kind(),
            image.used_by.join(" "),
        ]);
        for frozen in &image.frozen {
            rows.push(vec![
                format!("  {}", frozen.id),
                format!("frozen, {}", frozen.shape),
                String::new(),
                approximate(frozen.size),
                String::new(),
                frozen.clusters.join(" "),
            ]);
        }
    }
    let header = ["IMAGE", "NAME", "ARCH", "SIZE", "WHAT", "USED BY"];
    table(&header, &rows)
}

/// Prints the names that can be downloaded.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn catalogue(entries: &[CatalogueEntry], as_json: bool) -> Result<()> {
    if as_json {
        return json(&entries);
    }
    data(&catalogue_text(entries));
    Ok(())
}

pub(super) fn catalogue_text(entries: &[CatalogueEntry]) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let architectures: Vec<_> = entry.urls.keys().map(String::as_str).collect();
            vec![
                entry.name.clone(),
                architectures.join(" "),
                entry.about.clone(),
            ]
        })
        .collect();
    table(&["NAME", "ARCH", "ABOUT"], &rows)
}

/// Prints everything known about an image.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn image(detail: &ImageDetail, as_json: bool) -> Result<()> {
    if as_json {
        return json(&detail.image);
    }
    data(&image_text(detail));
    Ok(())
}

pub(super) fn image_text(detail: &ImageDetail) -> String {
    let image = &detail.image;
    let digest = image.digest.trim_start_matches("sha256:");
    let mut rows = vec![
        ("image", image.id.clone()),
        ("name", image.name.clone()),
        ("tags", image.tags.join(" ")),
        ("architecture", image.architecture.to_string()),
        ("firmware", image.boot.name().to_owned()),
        ("identity", image.guest.name().to_owned()),
        ("origin", image.origin.words()),
        ("backing image", image.parent.clone().unwrap_or_default()),
        ("disk", approximate(image.virtual_size)),
        ("on this host", approximate(image.size)),
        ("sha256", digest.to_owned()),
        ("files", detail.directory.clone()),
        ("used by", image.used_by.join(" ")),
    ];
    if let Origin::Pulled {
        checksum, keyring, ..
    } = &image.origin
    {
        let unverified = || "none: --insecure".to_owned();
        rows.push(("checksum", checksum.clone().unwrap_or_else(unverified)));
        rows.push(("signed by", keyring.clone().unwrap_or_default()));
    }
    if detail.verified {
        rows.push(("content", "unchanged since it was stored".to_owned()));
    }
    rows.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<13} {value}\n"))
        .collect()
}
