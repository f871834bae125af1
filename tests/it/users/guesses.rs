//! Guessing passwords gets slow for who guesses, and for nobody else.

use std::net::{IpAddr, Ipv4Addr};

use fleetman::access::{Gate, SignInError, Visitor};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::{HOME, PASSWORD, Place};

/// A stranger's guess.
async fn is_looked_at(gate: &Gate, from: u8) -> bool {
    match gate.sign_in("ada", "a wrong guess", IpAddr::V4(Ipv4Addr::new(192, 0, 2, from))).await {
        Err(SignInError::Wrong) => true,
        Err(SignInError::Throttled { .. }) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn guessing_gets_slow_and_the_right_password_gets_in_after_the_wait() {
    let place = Place::new().await;
    let (gate, _) = place.with_ada().await;
    for _ in 0..6 {
        assert!(matches!(gate.sign_in("ada", "a wrong guess", HOME).await, Err(SignInError::Wrong)));
    }
    let early = gate.sign_in("ada", PASSWORD, HOME).await;
    assert!(matches!(early, Err(SignInError::Throttled { .. })), "{early:?}");
    let elsewhere = gate.sign_in("ada", PASSWORD, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))).await;
    assert!(elsewhere.is_ok(), "whoever guesses keeps nobody out who comes from elsewhere: {elsewhere:?}");
    let gets_in = async || gate.sign_in("ada", PASSWORD, HOME).await.is_ok();
    crate::support::wait_for(gets_in, "the wait to be over").await;
}

#[tokio::test]
async fn guesses_at_once_are_no_more_than_guesses_in_turn() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let guesses = (0..30).map(|_| is_looked_at(&gate, 1));
    let looked_at = join_all(guesses).await.into_iter().filter(|is_looked_at| *is_looked_at).count();
    assert_eq!(looked_at, 6);
    let present = (0..30).map(|_| gate.check_password(&ada.session, "a wrong guess"));
    let looked_at = join_all(present).await.into_iter().filter(|came| matches!(came, Err(SignInError::Wrong))).count();
    assert_eq!(looked_at, 6);
}

#[tokio::test]
async fn whoever_hangs_up_has_guessed() {
    let place = Place::new().await;
    let (gate, _) = place.with_ada().await;
    for _ in 0..6 {
        // Polled once: it is under way, and then nobody waits for it any more.
        assert!(is_looked_at(&gate, 1).now_or_never().is_none());
    }
    assert!(!is_looked_at(&gate, 1).await);
}

#[tokio::test]
async fn a_browser_that_is_known_gets_in_while_all_the_world_guesses() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let mut guesses = 0;
    for from in 0..=255 {
        guesses += u32::from(is_looked_at(&gate, from).await);
    }
    assert!(guesses < 100, "{guesses}");
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let stranger = gate.sign_in("ada", PASSWORD, address).await;
    assert!(matches!(stranger, Err(SignInError::Throttled { .. })), "{stranger:?}");
    let known = Visitor { address, browser: ada.browser.as_deref() };
    assert!(gate.sign_in("ada", PASSWORD, known).await.is_ok());
    assert!(matches!(gate.sign_in("ada", "a wrong guess", known).await, Err(SignInError::Wrong)));
    let no_cookie_of_a_browser = Visitor { address, browser: Some(&ada.cookie) };
    assert!(matches!(gate.sign_in("ada", PASSWORD, no_cookie_of_a_browser).await, Err(SignInError::Throttled { .. })));
    assert!(gate.by_cookie(ada.browser.as_deref().unwrap()).is_err(), "it is no session");
}
