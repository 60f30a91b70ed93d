//! Downloads missing servers into `target/servers`, without root, with the package
//! managers of the machine.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use sha2::{Digest, Sha512};

use super::program::run;

/// A package in npm's registry, pinned by its digest.
pub(super) struct Package {
    /// `@scope/name`.
    pub(super) name: String,
    pub(super) version: &'static str,
    /// Base64 of the SHA-512 of its archive, as the registry states it.
    pub(super) sha512: &'static str,
}

/// The folder of installed servers: `target/servers`.
pub(super) fn installed() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    // A program that runs in another working directory gets the folder in an environment
    // variable.
    std::path::absolute(target.join("servers")).unwrap_or_else(|_| target.join("servers"))
}

/// The folder `name` of installed servers. If it is missing, `fill` creates it. The
/// folder is either complete or missing, even if two processes create it concurrently.
pub(super) fn once(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = installed().join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = installed().join(format!("{name}.{}", std::process::id()));
    let made = fs::create_dir_all(&unfinished)
        .map_err(|e| format!("{}: {e}", unfinished.display()))
        .and_then(|()| fill(&unfinished));
    if made.is_ok() {
        // Fails if another process has created it in the meantime.
        let _ = fs::rename(&unfinished, &folder);
    }
    let _ = fs::remove_dir_all(&unfinished);
    made.map(|()| folder)
}

/// Unpacks a package into the folder `name` of installed servers.
pub(super) fn npm(name: &str, package: &Package) -> Result<PathBuf, String> {
    once(name, |folder| {
        let archive = fetch(folder, package)?;
        let bytes = fs::read(&archive).map_err(|e| format!("{}: {e}", archive.display()))?;
        verify(package, &bytes)?;
        run(Command::new("tar")
            .args(["--strip-components=1", "-xzf"])
            .arg(&archive)
            .arg("-C")
            .arg(folder))?;
        fs::remove_file(&archive).map_err(|e| e.to_string())?;
        links(folder).map_err(|e| format!("the links of {}: {e}", package.name))
    })
}

/// Checks an archive against its pinned digest before it is unpacked.
fn verify(package: &Package, archive: &[u8]) -> Result<(), String> {
    let found = BASE64.encode(&Sha512::digest(archive));
    if found == package.sha512 {
        return Ok(());
    }
    Err(format!(
        "{}@{} does not match its pinned digest: its SHA-512 is {found}, not {}",
        package.name, package.version, package.sha512
    ))
}

/// Downloads the package with npm, which knows the configured registry; otherwise from
/// the public registry with any available program.
fn fetch(folder: &Path, package: &Package) -> Result<PathBuf, String> {
    let Package { name, version, .. } = package;
    let packed = run(Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(folder)
        .arg("--cache")
        .arg(folder.join("npm"))
        .arg(format!("{name}@{version}"))
        .current_dir(folder));
    let mut tried = Vec::new();
    match packed {
        Ok(printed) => {
            let file = printed.lines().last().unwrap_or_default().trim();
            let _ = fs::remove_dir_all(folder.join("npm"));
            return Ok(folder.join(file));
        }
        Err(error) => tried.push(error),
    }
    let archive = folder.join("package.tgz");
    let short = name.rsplit('/').next().unwrap_or(name);
    let url = format!("https://registry.npmjs.org/{name}/-/{short}-{version}.tgz");
    let python = "import sys, urllib.request as u; u.urlretrieve(sys.argv[2], sys.argv[1])";
    let clients: [(&str, &[&str]); 3] = [
        (
            "curl",
            &[
                "--fail",
                "--silent",
                "--show-error",
                "--location",
                "--output",
            ],
        ),
        ("wget", &["--quiet", "--output-document"]),
        ("python3", &["-c", python]),
    ];
    for (client, arguments) in clients {
        match run(Command::new(client).args(arguments).arg(&archive).arg(&url)) {
            Ok(_) => return Ok(archive),
            Err(error) => tried.push(error),
        }
    }
    Err(format!("{url}: {}", tried.join("; ")))
}

/// Creates the symbolic links that the package lists. npm archives contain none, and the
/// package's own install script, which would create them, is not run.
fn links(folder: &Path) -> io::Result<()> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let list = match fs::read(folder.join("native/pg-symlinks.json")) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for Link { source, target } in serde_json::from_slice::<Vec<Link>>(&list)? {
        // Each link is in the same folder as its target.
        let name = source.file_name().unwrap_or(OsStr::new("."));
        symlink(name, folder.join(target))?;
    }
    Ok(())
}

/// Programs of a release of Debian, unpacked with all their dependencies including the C
/// library, so that they run on any machine of this architecture.
pub(super) struct Root(PathBuf);

impl Root {
    /// Downloads `package` of `suite`, signed by Debian, and unpacks it into the folder
    /// `name` of installed servers. Needs `apt-get` and Debian's keys, but not root.
    pub(super) fn debian(name: &str, suite: &str, package: &str) -> Result<Self, String> {
        once(name, |folder| {
            let apt = folder.join("apt");
            for sub in ["lists/partial", "archives/partial"] {
                fs::create_dir_all(apt.join(sub)).map_err(|e| e.to_string())?;
            }
            let source = format!(
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                 http://deb.debian.org/debian {suite} main\n"
            );
            fs::write(apt.join("sources.list"), source).map_err(|e| e.to_string())?;
            // An empty package database, so that apt-get downloads all dependencies.
            fs::write(apt.join("status"), "").map_err(|e| e.to_string())?;
            run(apt_get(&apt).arg("update"))?;
            run(apt_get(&apt)
                .args([
                    "install",
                    "--download-only",
                    "--no-install-recommends",
                    "--yes",
                ])
                .arg(package))?;
            for entry in fs::read_dir(apt.join("archives")).map_err(|e| e.to_string())? {
                let path = entry.map_err(|e| e.to_string())?.path();
                if path.extension() == Some(OsStr::new("deb")) {
                    run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(folder))?;
                }
            }
            // Older releases have some files outside of `usr`.
            for old in ["lib", "lib64"].map(|old| folder.join(old)) {
                if old.is_dir() {
                    let new = folder.join("usr").join(old.file_name().unwrap_or_default());
                    fs::create_dir_all(&new).map_err(|e| e.to_string())?;
                    run(Command::new("cp").arg("-a").arg(old.join(".")).arg(&new))?;
                }
            }
            for spare in ["apt", "lib", "lib64", "usr/share", "var"] {
                let _ = fs::remove_dir_all(folder.join(spare));
            }
            Ok(())
        })
        .map(Self)
    }

    /// The root directory at `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The command that runs `program` with its own dynamic loader and libraries.
    pub(super) fn command(&self, program: &str) -> Result<Vec<String>, String> {
        let usr = self.0.join("usr");
        let find = |folder: &Path, begin: &str, end: &str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths = entries.map(|entry| entry.path());
            paths.find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(begin) && name.contains(end)
            })
        };
        let libraries = find(&usr.join("lib"), "", "-linux-gnu");
        // Other paths may be links to the machine's loader.
        let loader = libraries
            .iter()
            .find_map(|libraries| find(libraries, "ld-linux", ".so"));
        let (Some(loader), Some(libraries)) = (loader, libraries) else {
            return Err(format!("{} is incomplete; remove it", self.0.display()));
        };
        Ok([
            loader,
            "--library-path".into(),
            libraries,
            self.0.join(program),
        ]
        .map(|part| part.display().to_string())
        .into())
    }
}

/// A command for `apt-get` whose state and cache are in `folder`.
fn apt_get(folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    for (name, value) in [
        ("Dir::State", ""),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", ""),
        ("Dir::Cache::archives", "archives"),
        ("Dir::Etc::sourcelist", "sources.list"),
    ] {
        command.arg("-o");
        command.arg(format!("{name}={}", folder.join(value).display()));
    }
    for setting in [
        "Dir::Etc::sourceparts=/dev/null",
        "APT::Sandbox::User=",
        "Acquire::Languages=none",
        "Debug::NoLocking=1",
    ] {
        command.args(["-o", setting]);
    }
    command.arg("--quiet");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_not_what_was_pinned_is_refused() {
        let package = Package {
            name: "@scope/name".into(),
            version: "1.0.0",
            // The digest of no bytes.
            sha512: "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        };
        assert_eq!(verify(&package, b""), Ok(()));
        let refusal = verify(&package, b"another").expect_err("it is another");
        assert!(refusal.contains("@scope/name@1.0.0 does not match its pinned digest"));
    }
}
