//! Storms: a connection that is cut again and again, and the answers during that time.

use std::sync::Arc;

use store_conformance::proxy::Weather;
use store_conformance::storm::{self, Figures};
use store_core::layers::RateLimitLayer;
use store_core::limits::{Decision, RateLimitStore, Take};
use store_core::{Error, Result, Retry};

use crate::faults::behind;
use crate::own::storm_seeds;
use crate::{End, Failure, Place, tests};

tests![
    a_storm_makes_no_answer_untrue,
    a_client_that_repeats_a_lost_take_is_detected,
    a_client_that_reports_a_lost_take_as_refused_is_detected,
];

async fn a_storm_makes_no_answer_untrue(place: Place) -> End {
    for seed in storm_seeds()? {
        let place = Place::new(&place.url);
        let whole = place.open().await?;
        let (proxy, store) = behind(&place, seed).await?;
        proxy.set_weather(Weather::ROUGH);
        let figures = storm::ride(&store, &whole, 6, 40).await?;
        println!("seed {seed}: {figures}; {} cuts", proxy.cuts());
        assert!(proxy.cuts() > 5, "too few cuts");
    }
    Ok(())
}

/// The limits of a client that does not report a lost reply to a take.
#[derive(Debug)]
struct Careless {
    limits: Arc<dyn RateLimitStore>,
    /// Whether it repeats the take, or reports that it did not happen.
    sends_again: bool,
}

#[async_trait::async_trait]
impl RateLimitLayer for Careless {
    fn inner(&self) -> &dyn RateLimitStore {
        &*self.limits
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        loop {
            let answer = self.limits.take(take).await;
            let lost = |error: &Error| error.retry() == Retry::Ambiguous;
            if answer.as_ref().is_err_and(lost) && self.sends_again {
                continue;
            }
            return answer.map_err(|error| match lost(&error) {
                true => error.with_retry(Retry::Safe),
                false => error,
            });
        }
    }
}

/// The storm's verdict on such a client, of whose calls every tenth loses its reply.
async fn verdict(place: Place, sends_again: bool) -> std::result::Result<Figures, Failure> {
    let whole = place.open().await?;
    let (proxy, store) = behind(&place, 7).await?;
    let mut weather = Weather::ROUGH;
    weather.before_reply = 100;
    proxy.set_weather(weather);
    let limits = Arc::clone(store.limits());
    let careless = Careless {
        limits,
        sends_again,
    };
    let store = store.with_limits(Arc::new(careless));
    let ride = tokio::spawn(async move { storm::ride(&store, &whole, 4, 20).await });
    match ride.await {
        Ok(figures) => figures,
        Err(ended) => match ended.into_panic().downcast::<String>() {
            Ok(message) => Err((*message).into()),
            Err(_) => Err("it panicked without a message".into()),
        },
    }
}

async fn a_client_that_repeats_a_lost_take_is_detected(place: Place) -> End {
    let error = verdict(place, true).await.expect_err("it took twice");
    assert!(error.to_string().contains("tokens are missing"), "{error}");
    Ok(())
}

async fn a_client_that_reports_a_lost_take_as_refused_is_detected(place: Place) -> End {
    let error = verdict(place, false).await.expect_err("it did take");
    assert!(error.to_string().contains("tokens are missing"), "{error}");
    Ok(())
}
