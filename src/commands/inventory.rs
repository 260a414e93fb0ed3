//! `inventory`: the cluster's inventory for Ansible, and files with which Ansible asks for it.

use std::path::Path;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::{InventoryFlags, InventoryForm};
use crate::engine::{Local, Reach};
use crate::hint::{WithHint, command};
use crate::model::Exit;
use crate::output;
use crate::project::{
    InventoryFormat, PLUGIN, PLUGIN_CONFIG, inventory_script, make_own_folder, write_own,
};

pub(super) fn run(session: &Session, flags: &InventoryFlags) -> Result<Exit> {
    let engine = session.engine()?;
    if let Some(file) = &flags.script {
        script(&engine, file)?;
    } else if let Some(folder) = &flags.plugin {
        plugin(&engine, folder)?;
    } else if let Some(host) = &flags.host {
        output::data(&engine.inventory()?.host(host)?);
    } else {
        let format = match flags.format {
            Some(InventoryForm::Yaml) => InventoryFormat::Yaml,
            Some(InventoryForm::Json) => InventoryFormat::Json,
            None if flags.list => InventoryFormat::Json,
            Some(InventoryForm::Ini) | None => InventoryFormat::Ini,
        };
        output::data(&engine.inventory()?.text(format)?);
    }
    Ok(Exit::Done)
}

fn script(engine: &Local, file: &Path) -> Result<()> {
    let program = std::env::current_exe().context("the path of kvmc is not known")?;
    let text = inventory_script(
        engine.name(),
        &program,
        &std::path::absolute(engine.root())?,
    );
    write_own(file, &text, 0o755, false)?;
    let shown = file.display();
    output::talk(&format!(
        "{shown} asks kvmc for the nodes of cluster `{}`; use it as `ansible -i {shown} all -m ping`",
        engine.name()
    ));
    Ok(())
}

fn plugin(engine: &Local, folder: &Path) -> Result<()> {
    make_own_folder(folder)
        .hint(|| "name a folder for plugins, such as ./inventory_plugins".to_owned())?;
    let file = folder.join("kvmc.py");
    write_own(&file, PLUGIN, 0o644, false)?;
    let cluster = engine.name();
    output::talk(&format!(
        "{} is a plugin for Ansible; name its folder as `inventory_plugins = {}` below [defaults] in ansible.cfg, and write a file kvmc.yml:",
        file.display(),
        std::path::absolute(folder)?.display(),
    ));
    output::data(&format!("{PLUGIN_CONFIG}cluster: {cluster}\n"));
    output::talk(&format!(
        "then `ansible-inventory -i kvmc.yml --graph` shows what {} gives",
        command(cluster, "inventory --list")
    ));
    Ok(())
}
