//! Which servers are trusted, and the errors for one that is not and for one that is
//! not there.

use store_core::config::Tls;
use store_core::{ErrorKind, Retry, Store};
use store_dynamodb::DynamoDbBuilder;

use crate::own::is_reported_as_not_there;
use crate::own::tls::{Authority, relay};
use crate::{End, Place, number, tests, write};

tests![
    a_server_is_trusted_by_its_certificate_alone,
    a_port_where_nothing_listens_is_reported_without_waiting,
];

async fn refused(what: &str, builder: DynamoDbBuilder) {
    let error = builder.connect().await.expect_err(what);
    let class = (error.kind(), error.retry());
    assert_eq!(
        class,
        (ErrorKind::Config, Retry::Never),
        "{what}: {error:?}"
    );
    let advice = "DynamoDbBuilder::tls";
    assert!(error.message().contains(advice), "{what}: {error}");
}

async fn a_server_is_trusted_by_its_certificate_alone(place: Place) -> End {
    place.open().await?;
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let right = relay(&ours, "127.0.0.1", place.address()).await?;
    let at = |relay| {
        let builder = place.builder();
        move |tls| {
            builder
                .clone()
                .endpoint(format!("https://{relay}"))
                .tls(tls)
        }
    };
    let named = |authority: &Authority| Tls::new().ca_file(authority.root());
    for tls in [named(&ours), named(&ours).only_this_ca()] {
        let store = Store::from(at(right)(tls).connect().await?);
        write(&store, "a", 1).await?;
        assert_eq!(number(&store, "a").await?, Some(1));
    }
    refused("another authority", at(right)(named(&theirs))).await;
    refused("the system's authorities", at(right)(Tls::new())).await;
    let wrong = relay(&ours, "db.example.org", place.address()).await?;
    refused("another host", at(wrong)(named(&ours))).await;
    Ok(())
}

async fn a_port_where_nothing_listens_is_reported_without_waiting(place: Place) -> End {
    let builder = place.builder().endpoint("http://127.0.0.1:1");
    is_reported_as_not_there(builder.connect()).await
}
