//! What every answer tells on the way: how far the store's clock is.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::Limited;

use crate::clock::SharedClock;

/// The most bytes of an answer that is read whole: a page of a list, an error. The body of an object has its own
/// limit where it is read.
const MOST_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Stands in the way of every request of one client.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    clock: SharedClock,
    skew: Arc<Mutex<Option<TimeDelta>>>,
}

impl Watch {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, skew: Arc::default() }
    }

    /// The store's time minus ours, as the last answer told it.
    pub(super) fn skew(&self) -> Option<TimeDelta> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct SentAt(DateTime<Utc>);

impl Storable for SentAt {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "fleetman"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(SentAt(self.clock.now()));
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        // An answer out of a cache tells the time at which it was put there.
        if response.headers().get("age").is_none()
            && let Some(sent) = config.load::<SentAt>()
            && let Some(date) = response.headers().get("date")
            && let Ok(date) = DateTime::parse_from_rfc2822(date)
        {
            let skew = skew(sent.0, self.clock.now(), date.to_utc());
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
        }
        let is_object = config.load::<Metadata>().is_some_and(|metadata| metadata.name() == "GetObject");
        if !(is_object && response.status().is_success()) {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MOST_ANSWER_BYTES));
        }
        Ok(())
    }
}

/// `told` is cut to whole seconds; taking its middle makes the error at most half a second either way.
fn skew(sent: DateTime<Utc>, received: DateTime<Utc>, told: DateTime<Utc>) -> TimeDelta {
    let middle = sent + (received - sent) / 2;
    told + TimeDelta::milliseconds(500) - middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_stores_time_minus_the_middle_of_ours() {
        let at = |secs: i64, millis: i64| DateTime::from_timestamp_millis(secs * 1000 + millis).unwrap();
        assert_eq!(skew(at(100, 0), at(102, 0), at(161, 0)).num_milliseconds(), 60_500);
        assert_eq!(skew(at(100, 0), at(102, 0), at(41, 0)).num_milliseconds(), -59_500);
    }
}
