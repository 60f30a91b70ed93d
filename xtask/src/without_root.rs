//! The step `without-root` of `cargo xtask ci`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::options::Options;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, backends, programs};

/// If this is root: the record cases of every backend with a server, run by the user
/// `nobody`, which fetches the server. For another user, [`test_all`](crate::test_all)
/// has shown it.
///
/// # Errors
/// If they could not be run at all.
pub fn without_root(options: &Options) -> Result<Tally> {
    const NOBODY: u32 = 65534;
    let mut tally = Tally::default();
    let workspace = Workspace::load()?;
    let folder = std::env::temp_dir().join(format!("store-nobody-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let is_root = fs::metadata(&folder)?.uid() == 0;
    let programs = programs::build(&workspace, options)?;
    for backend in backends::BACKENDS.iter().filter(|one| one.server.is_some()) {
        let title = format!("{}, fetched and run by nobody", backend.name);
        if !is_root {
            println!("this is not root: test-all has fetched the servers without it");
            tally.passed += 1;
            continue;
        }
        if !options.install {
            tally
                .unproven
                .push(format!("{title}: allow it with --install"));
            continue;
        }
        let program = programs.iter().find(|program| program.is_suite_of(backend));
        let program = program.ok_or_else(|| format!("no suite of {}", backend.name))?;
        chown(&folder, Some(NOBODY), Some(NOBODY))?;
        let copy = folder.join(backend.name);
        fs::copy(&program.executable, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new(&copy);
        command.current_dir(&folder).arg("::records::");
        command.uid(NOBODY).gid(NOBODY);
        for (name, value) in [
            ("HOME", folder.as_os_str()),
            ("CARGO_TARGET_DIR", folder.as_os_str()),
            ("STORE_TEST_WAY", OsStr::new("install")),
        ] {
            command.env(name, value);
        }
        tally.add(programs::run_logged(
            &workspace,
            command,
            &title,
            &programs::slug(&title),
            true,
        )?);
    }
    fs::remove_dir_all(&folder)?;
    Ok(tally)
}
