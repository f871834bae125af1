//! How a new version takes the place of the one that runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::model::strategy::Sharing;
use crate::model::{ProcessName, SocketName};
use crate::recipe::value::{Name, Scalar, WrittenMode};

/// How a new version takes the place of the one that runs: a word, or a map that says more.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Strategy {
    /// The old one is stopped, then the new one is started.
    #[default]
    StopStart,
    /// The new one is started beside the old one, which is stopped once the new one is good.
    StartStop(StartStop),
    /// What runs goes on, and is told to read its files again.
    Reload,
}

/// The map form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StrategyMap {
    /// The new version is started beside the old one, which is stopped once the new one is good.
    start_stop: StartStop,
}

/// How two versions of a cell can run at once: with sockets that both are given, or as `shares` says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["sockets"]}, {"required": ["shares"]}]))]
pub struct StartStop {
    /// Sockets that are passed on to the program, by the names that it finds in `LISTEN_FDNAMES`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, Socket>")]
    pub sockets: BTreeMap<SocketName, Socket>,
    /// How the program does without them: `so_reuseport` if it sets that on its sockets, `second_port` if each of the
    /// two listens at a port of its own, by `FLEETMAN_INSTANCE`, or at none.
    pub shares: Option<Sharing>,
}

/// A socket that is passed on; see `sd_listen_fds(3)`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// An IP address with its port, such as `0.0.0.0:8080` or `[::]:8080`, or an absolute path.
    #[schemars(with = "Scalar")]
    pub listen: String,
    /// The process that is given it; it may be left out where there is only one service.
    #[schemars(with = "Option<Name>")]
    pub process: Option<ProcessName>,
    /// The permissions of a socket at a path, as four octal digits in quotes; `"0666"` if left out.
    pub mode: Option<WrittenMode>,
}

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;

        impl<'de> Visitor<'de> for WordOrMap {
            type Value = Strategy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("stop_start, reload, or a map with `start_stop`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Strategy, E> {
                match text {
                    "stop_start" => Ok(Strategy::StopStart),
                    // What it lacks is told where it stands.
                    "start_stop" => Ok(Strategy::StartStop(StartStop::default())),
                    "reload" => Ok(Strategy::Reload),
                    _ => {
                        let help = "write stop_start, reload, or a map with `start_stop`";
                        Err(E::custom(format!("`{text}` is no strategy\n{help}")))
                    }
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Strategy, A::Error> {
                let StrategyMap { start_stop } = StrategyMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Strategy::StartStop(start_stop))
            }
        }

        deserializer.deserialize_any(WordOrMap)
    }
}

impl JsonSchema for Strategy {
    fn schema_name() -> Cow<'static, str> {
        "Strategy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<StrategyMap>();
        let description = "How a new version takes the place of the one that runs.";
        json_schema!({"description": description, "anyOf": [{"enum": ["stop_start", "reload"]}, map]})
    }
}
