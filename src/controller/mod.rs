//! Publishing and everything else that writes what the fleet is to be.

pub mod doctor;
