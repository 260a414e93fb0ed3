//! Builds the default template below a state folder: `build-template FOLDER`.
#![allow(clippy::print_stdout, reason = "an example for the terminal")]
use kvmc_images::{Architecture, Recipe, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).ok_or("which folder?")?;
    let recipe = Recipe::new("trixie", Architecture::Amd64, None, &[])?;
    let image =
        Store::open(std::path::Path::new(&root)).build(&recipe, &mut |what| println!("{what}"))?;
    println!("{} {}", image.id, image.directory.display());
    Ok(())
}
