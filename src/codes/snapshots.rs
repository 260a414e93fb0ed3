//! Codes of snapshots, and of `try` and `stop --suspend`.

use super::code::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        name: "snapshot-unknown",
        messages: &["cluster `{}` has no snapshot `{}`; {}"],
        means: "No snapshot of the cluster has this name.",
        cure: "{snapshot ls} lists the snapshots.",
    },
    Code {
        name: "snapshot-exists",
        messages: &["cluster `{}` has a snapshot `{}` already"],
        means: "A snapshot is never replaced by another.",
        cure: "Give the new one another name, or remove the old one with {snapshot rm NAME}.",
    },
    Code {
        name: "snapshot-unfit",
        messages: &[
            "snapshot `{}` needs another {} for node `{}`",
            "snapshot `{}` has node `{}`, which the cluster does not have",
            "the cluster has node `{}`, which snapshot `{}` does not have",
            "snapshot `{}` has format {}; this version of kvmc reads",
        ],
        means: "Saved memory goes only to the machines that it is of: the same nodes, with the same QEMU, kernel, image and size. Something of that is another now.",
        cure: "Make it as it was, such as with {scale} or the QEMU of before. Else remove the snapshot with {snapshot rm NAME}.",
    },
    Code {
        name: "snapshot-changed",
        messages: &["{} has changed: its digest is `{}`; expected `{}`"],
        means: "A file of the snapshot is not as kvmc wrote it. Nothing was restored from it.",
        cure: "Check the disk. The snapshot is of no use; {snapshot rm NAME} removes it, and {start --cold} boots a suspended cluster instead.",
    },
    Code {
        name: "node-not-savable",
        messages: &[
            "{} is not ready ({}); only ready nodes can be saved",
            "cluster `{}` is stopped; only a running one can be saved",
            "{} is stopped; a cluster is saved as a whole",
        ],
        means: "A snapshot has all nodes at one instant, so all of them must run and be ready.",
        cure: "{status} shows what a node waits for, and {start} starts those that are stopped.",
    },
    Code {
        name: "node-runs-on-another-qemu",
        messages: &[
            "{} runs on another QEMU than {} is now",
            "{} runs with other RAM or vcpus than its record has",
        ],
        means: "The node runs as it could not be started again, because QEMU was replaced or its size was changed meanwhile.",
        cure: "{restart NODE} starts it as it will be from now on.",
    },
    Code {
        name: "save-memory-short",
        messages: &["saving {} nodes takes {} of memory, {}"],
        means: "The pause is short because the nodes' pages are copied to memory first. The host has too little for that. Nothing was stopped.",
        cure: "Stop other programs or clusters, or save when the nodes use less; {top} shows what they use.",
    },
    Code {
        name: "save-disk-short",
        messages: &[
            "no space to save {} nodes: they may take {} in {}, {} is free",
            "no space to import {}: what it holds may take {} in {}, {} is free",
        ],
        means: "The snapshot might not fit on the disk. Packed, it may be smaller, but nobody knows before. Nothing was stopped or written.",
        cure: "{df} shows what takes space, and {snapshot rm NAME} removes a snapshot.",
    },
    Code {
        name: "too-many-images",
        messages: &["the disk of {} has {} images, which is the limit"],
        means: "Each save and each rollback adds an image to a disk, and QEMU opens all of them.",
        cure: "Remove snapshots with {snapshot rm NAME}; {stop} then merges the images that none of them needs.",
    },
    Code {
        name: "save-under-way",
        messages: &["the cluster is being saved or restored"],
        means: "Another verb has all nodes stopped for a moment.",
        cure: "Try again when it is done; `--wait SECONDS` waits for it.",
    },
    Code {
        name: "save-given-up",
        messages: &[
            "the guests go on after {} s of standstill",
            "{} does not stop",
        ],
        means: "The nodes stood still for too long, so they go on, and there is no snapshot.",
        cure: "The host is very busy, or its disk hangs; {doctor} and {top} tell more.",
    },
    Code {
        name: "restore-pending",
        messages: &[
            "cluster `{}` goes on from a saved state only as a whole",
            "cluster `{}` goes on from a saved state, which fits only the nodes that it has",
            "cluster `{}` is going back to snapshot `{}`",
        ],
        means: "The cluster is suspended, or a rollback was ended early. Until its nodes run, nothing of them may change.",
        cure: "{start} lets it go on. {start --cold} gives up the saved memory and boots the nodes.",
    },
    Code {
        name: "node-not-restored",
        messages: &["{} cannot be restored: {}"],
        means: "QEMU did not take the saved state of a node. None of the nodes runs, and the snapshot is as it was.",
        cure: "The error has QEMU's words. {start} tries again, and {start --cold} boots the nodes from their disks.",
    },
    Code {
        name: "snapshot-file-unusable",
        messages: &[
            "is not an exported snapshot",
            "{} is damaged or cut short at `{}`",
            "snapshot `{}` is of another cluster `{}`",
        ],
        means: "The file is cut, changed, of another cluster, or no export of a snapshot. Nothing was taken from it.",
        cure: "Export it again with {snapshot export}. It fits only the cluster that it is of, as long as that was not made anew.",
    },
    Code {
        name: "try-under-way",
        messages: &["another command is tried on cluster `{}`"],
        means: "Machines stand by for one command at a time. The other one is tried nevertheless, and its rollback takes longer.",
        cure: "Nothing, or wait for the end of the other one.",
    },
];
