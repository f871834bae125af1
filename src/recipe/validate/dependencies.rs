//! Whether the cells that a cell depends on are well named. Which cells there are only the node's bucket knows.

use super::Checker;
use crate::model::CellName;
use crate::model::dependencies::Dependencies;
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn dependencies(&mut self, lists: [(&str, &[CellName]); 2]) {
        for (key, names) in lists {
            let field = Field::root().key(key);
            if names.len() > Dependencies::MOST {
                let message = format!("{} cells are more than the {} of a list", names.len(), Dependencies::MOST);
                self.key(&field, message, Some("name those that matter; what they depend on comes before them"));
            }
            for (position, name) in names.iter().enumerate() {
                if names[..position].contains(name) {
                    self.value(&field.index(position), format!("the cell `{name}` is there twice"), Some("remove it"));
                }
            }
        }
    }
}
