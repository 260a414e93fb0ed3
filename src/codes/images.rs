//! Codes of images: names, downloads, templates and builds.

use super::code::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        name: "unknown-image",
        messages: &[
            "image: unknown image `{}` for",
            "unknown image `{}`; expected a name from",
            "the store has no image `{}` for",
            "image: the catalogue has `{}`, but not for",
        ],
        means: "No image of this name is in the store or in the catalogue, or none for this architecture.",
        cure: "{image ls} lists the images of the store; {image ls --catalogue} lists those that can be downloaded.",
    },
    Code {
        name: "ambiguous-digest",
        messages: &["`{}` begins the digests of {} images"],
        means: "The beginning of a digest fits several images.",
        cure: "Write more digits.",
    },
    Code {
        name: "image-missing",
        messages: &[
            "the image {} of {} is missing or damaged",
            "the image {} has no disk",
            "its image is missing",
        ],
        means: "A node's image is no longer in the store, and the node cannot start without it.",
        cure: "Import it again from an export. Otherwise {down} and {up} make the cluster anew.",
    },
    Code {
        name: "image-changed",
        messages: &["{} was changed: expected digest"],
        means: "A file of an image has other bytes than when it was made. Nodes on it may already be damaged.",
        cure: "Remove the image with {image rm NAME} and make it again. Check the disk of this host.",
    },
    Code {
        name: "image-unusable",
        messages: &[
            "image: {} cannot be used",
            "its disk of {} has no partition table",
            "has no cloud-init and lets root in",
        ],
        means: "The file is no disk image that kvmc can boot.",
        cure: "The error says what it is, and how to make an image of it.",
    },
    Code {
        name: "image-too-much",
        messages: &["{} is too much for {}: {}"],
        means: "A program that reads the image took more memory or time than any sound image needs, or crashed. The image is damaged, or was made to harm.",
        cure: "Download the image again, from its publisher. On a busy host, try again.",
    },
    Code {
        name: "image-of-other-architecture",
        messages: &["image: the name of `{}` says"],
        means: "The image is for another architecture than the nodes.",
        cure: "Pass `--arch`, or use another image.",
    },
    Code {
        name: "image-in-use",
        messages: &["image {} is used by"],
        means: "Nodes or other images lie over this image.",
        cure: "Remove these first; {image inspect NAME} lists them.",
    },
    Code {
        name: "download-failed",
        messages: &[
            "cannot be downloaded: {}",
            "cannot download: {}",
            "the image cannot be downloaded",
        ],
        means: "The publisher's server does not answer, or not with the file.",
        cure: "Look at the address and at the proxy's variables, such as HTTPS_PROXY. An image that was downloaded elsewhere is taken by {image import FILE}.",
    },
    Code {
        name: "download-cut",
        messages: &["{} was cut at {}: {}; run it again to resume"],
        means: "The connection ended in the middle of a download. What has come is kept.",
        cure: "Run the verb again; it goes on where it ended.",
    },
    Code {
        name: "wrong-checksum",
        messages: &["{} is not what its publisher made"],
        means: "The file has other bytes than the publisher's checksum says: it was damaged, or replaced.",
        cure: "Download again. If it stays, look at the publisher's page before you trust it.",
    },
    Code {
        name: "no-checksum",
        messages: &[
            "image: {} has no checksum",
            "image: the catalogue has no checksum for",
            "is not in the publisher's list",
            "image: the checksum of {} is wrong; expected",
        ],
        means: "kvmc does not run what it cannot check.",
        cure: "Write the checksum behind the address, `URL#sha256:DIGITS`, name the publisher's list with `--sums`, or pass `--insecure`.",
    },
    Code {
        name: "bad-signature",
        messages: &["the publisher's signature is not good"],
        means: "The list of checksums is not signed by the publisher's key.",
        cure: "Do not use the image. A wrong clock of this host can be the cause too.",
    },
    Code {
        name: "bad-proxy",
        messages: &["the proxy in {} is `{}`; expected"],
        means: "A variable for a proxy holds no address of one.",
        cure: "Write such as `http://HOST:PORT`.",
    },
    Code {
        name: "packages-unavailable",
        messages: &["mmdebstrap could not install the packages"],
        means: "The template's packages could not be fetched or installed.",
        cure: "Look at the mirror, the suite and the packages that the error names; `--mirror` names another mirror.",
    },
    Code {
        name: "keyring-missing",
        messages: &["this host has no {}, and mmdebstrap could not fetch it"],
        means: "The mirror's packages are signed by a key that this host does not have.",
        cure: "Install the package that the error names.",
    },
    Code {
        name: "template-failed",
        messages: &["the template cannot be built", "the template lacks {}"],
        means: "The image that nodes start from could not be made.",
        cure: "The cause is behind this error. {doctor} checks the programs that build it.",
    },
    Code {
        name: "build-failed",
        messages: &[
            "the build machine is not ready",
            "{} ended with {}; its output is above",
            "the build machine did not shut down cleanly",
        ],
        means: "An image that was to be built in a machine was not.",
        cure: "The output above says why. The machine is removed, so the build can be run again.",
    },
    Code {
        name: "node-not-stopped",
        messages: &[
            "cluster `{}` is not stopped, so the disk of",
            "has never run, so its disk holds nothing",
        ],
        means: "An image is made from the disk of a stopped node that has run.",
        cure: "{stop} shuts the cluster down.",
    },
    Code {
        name: "not-an-export",
        messages: &["is not an exported image", "is not what was exported"],
        means: "The file is cut, changed, or no export of kvmc's.",
        cure: "Export it again with {image export}.",
    },
    Code {
        name: "prepare-failed",
        messages: &[
            "the first start of the image does not end",
            "the machine ended before the image was prepared",
            "the machine ended before its agent greeted",
        ],
        means: "A cloud image was started once to put the agent into it, and that did not work.",
        cure: "The error has the end of its console. `--cold` starts nodes from the image as it is.",
    },
];
