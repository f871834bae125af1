//! Values that stand in files of the node: the agent's program writes them down just before the service starts, where
//! systemd reads them, and takes them away again once it has. They are in no unit and in no message.
//!
//! See `EnvironmentFile=` in `systemd.exec(5)`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::supervise::{EnvFile, EnvFileError};

/// How often the folder may vanish under a file that is being made, because another service has just been started.
const TRIES: usize = 16;

/// Why no such file could be made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// What is to be read is not JSON as the agent writes it.
    #[error("what to read is not understood")]
    Unreadable(#[source] serde_json::Error),
    /// A value is not there.
    #[error("{variable}")]
    Missing {
        /// The variable.
        variable: String,
        /// What is wrong.
        #[source]
        source: EnvFileError,
    },
    /// A value that systemd passes to no program.
    #[error("{variable}: the value has a control character in it, which systemd passes in no variable")]
    Unpassable {
        /// The variable.
        variable: String,
    },
    /// The file cannot be written or removed.
    #[error("writing {path}")]
    Io {
        /// The file.
        path: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Reads every value, and gives the text of the file.
///
/// # Errors
/// A value is missing, or cannot be passed. No error says one.
pub(super) fn text<'a>(files: impl IntoIterator<Item = (&'a str, &'a EnvFile)>) -> Result<String, SecretsError> {
    let mut text = String::new();
    for (variable, file) in files {
        let value = file.read().map_err(|source| SecretsError::Missing { variable: variable.to_owned(), source })?;
        let is_noncharacter = |c: char| (0xfdd0..=0xfdef).contains(&u32::from(c)) || u32::from(c) & 0xfffe == 0xfffe;
        if value.contains(|c: char| c.is_control() && !"\t\n".contains(c) || is_noncharacter(c)) {
            return Err(SecretsError::Unpassable { variable: variable.to_owned() });
        }
        text.push_str(variable);
        text.push_str("=\"");
        for c in value.chars() {
            // What a shell would take for more than itself.
            if "\"\\`$".contains(c) {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

/// Writes what `told` says to read into `path`, for root alone; without it removes the file.
///
/// # Errors
/// A value is missing or cannot be passed, or the file cannot be written.
pub fn write_env(path: &Path, told: Option<&str>) -> Result<(), SecretsError> {
    let failed = |source| SecretsError::Io { path: path.display().to_string(), source };
    let Some(told) = told else { return remove(path).map_err(failed) };
    let files: BTreeMap<String, EnvFile> = serde_json::from_str(told).map_err(SecretsError::Unreadable)?;
    let text = text(files.iter().map(|(name, file)| (name.as_str(), file)))?;
    let mut result = Ok(());
    for _ in 0..TRIES {
        result = write(path, &text);
        if result.as_ref().map_err(io::Error::kind) != Err(io::ErrorKind::NotFound) {
            break;
        }
    }
    result.map_err(failed)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // It stays for as long as there are others in it.
    let _ = path.parent().map(fs::remove_dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::render::unit::told;

    #[test]
    fn values_are_written_so_that_nothing_in_them_means_anything() {
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("secret");
        fs::write(&secret, "a\"b\\c`d$e\nf #g\n").unwrap();
        let (plain, keyed) = (home.path().join("plain"), home.path().join("keyed"));
        fs::write(&keyed, "A=1\nTOKEN=x y\n").unwrap();
        let told = told(&BTreeMap::from([
            ("S", EnvFile { from_file: secret.clone(), key: None }),
            ("T", EnvFile { from_file: keyed, key: Some("TOKEN".into()) }),
        ]));
        let path = home.path().join("run/web.env");
        write_env(&path, Some(&told)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "S=\"a\\\"b\\\\c\\`d\\$e\nf #g\"\nT=\"x y\"\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write_env(&path, Some(&told)).unwrap();
        write_env(&path, None).unwrap();
        write_env(&path, None).unwrap();
        assert!(!path.parent().unwrap().exists());

        fs::write(&plain, "a\x01b").unwrap();
        let files = BTreeMap::from([("P".to_owned(), EnvFile { from_file: plain, key: None })]);
        let refused = write_env(&path, Some(&serde_json::to_string(&files).unwrap())).unwrap_err();
        assert!(matches!(refused, SecretsError::Unpassable { .. }), "{refused}");
        fs::remove_file(secret).unwrap();
        assert!(matches!(write_env(&path, Some(&told_again(home.path()))), Err(SecretsError::Missing { .. })));
        assert!(!path.exists());
    }

    fn told_again(home: &Path) -> String {
        told(&BTreeMap::from([("S", EnvFile { from_file: home.join("secret"), key: None })]))
    }
}
