//! What lies where a cell's file belongs, and whose it is (I7).

use std::fs;
use std::io;
use std::path::Path;

use crate::model::{CellName, Sha256Digest};
use crate::render::stanza::MARKER;

/// The file of a cell is never larger: so many processes have no room in it.
const MOST_BYTES: u64 = 1 << 20;

/// What lies where a cell's file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Something that is not this agent's, and why it is not.
    Foreign(String),
    /// A file that this agent wrote.
    Ours {
        /// The version and its activation that it brings up.
        version: String,
        activation: String,
        /// Whether somebody has changed it since.
        is_edited: bool,
    },
}

impl Found {
    /// Looks at `path` for the file of a cell in this folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn at(path: &Path, cell: &CellName, folder: &Path) -> io::Result<Self> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        if !meta.is_file() {
            return Ok(Self::Foreign("it is not a file".to_owned()));
        }
        if meta.len() > MOST_BYTES {
            return Ok(Self::Foreign("it is too large to be our own".to_owned()));
        }
        Ok(Self::parse(&fs::read(path)?, cell, folder))
    }

    pub(super) fn parse(bytes: &[u8], cell: &CellName, folder: &Path) -> Self {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let (first, rest) = bytes.split_at(end);
        let first = std::str::from_utf8(first).ok().and_then(|line| line.trim_end().strip_prefix(MARKER));
        let Some(first) = first else { return Self::Foreign("it does not begin with our marker".to_owned()) };
        let field = |name: &str| first.split(' ').find_map(|word| word.split_once('=').filter(|(key, _)| *key == name));
        let value = |name: &str| field(name).map(|(_, value)| value);
        if value("cell") != Some(cell.as_str()) || value("folder").map(Path::new) != Some(folder) {
            return Self::Foreign("its marker names another cell, or the folder of another agent".to_owned());
        }
        let (Some(version), Some(activation)) = (value("version"), value("activation")) else {
            return Self::Foreign("its marker is damaged".to_owned());
        };
        let is_edited = value("sha256") != Some(Sha256Digest::of(rest).to_string().as_str());
        Self::Ours { version: version.to_owned(), activation: activation.to_owned(), is_edited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> String {
        let rest = "; Do not edit.\n\n[program:fleetman-web]\nautostart=true\n";
        let digest = Sha256Digest::of(rest.as_bytes());
        format!("; fleetman: cell=web folder=/x version=1.2+3 activation=1-7-1 sha256={digest}\n{rest}")
    }

    #[test]
    fn only_what_this_agent_wrote_is_ours() {
        let text = written();
        let cell = CellName::new("web").unwrap();
        let found = |text: &str| Found::parse(text.as_bytes(), &cell, Path::new("/x"));
        let ours = |is_edited| Found::Ours { version: "1.2+3".into(), activation: "1-7-1".into(), is_edited };
        assert_eq!(found(&text), ours(false));
        assert_eq!(found(&text.replace("autostart=true", "autostart=false")), ours(true));
        assert_eq!(found(&format!("{text}\n")), ours(true));
        assert_eq!(found(text.split_inclusive('\n').next().unwrap()), ours(true));
        for foreign in [
            text.replace("cell=web", "cell=db"),
            text.replace("folder=/x", "folder=/y"),
            text.replace("activation=1-7-1 ", ""),
            text.replace("; fleetman", ";fleetman"),
            format!("\n{text}"),
            String::new(),
        ] {
            assert!(matches!(found(&foreign), Found::Foreign(_)), "{foreign}");
        }

        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| Found::at(&home.path().join(name), &cell, Path::new("/x")).unwrap();
        assert_eq!(at("none"), Found::Nothing);
        fs::write(home.path().join("ours"), &text).unwrap();
        assert_eq!(at("ours"), ours(false));
        std::os::unix::fs::symlink("ours", home.path().join("link")).unwrap();
        assert_eq!(at("link"), Found::Foreign("it is not a file".into()));
    }
}
