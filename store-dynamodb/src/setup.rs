//! Creates the table, waits for it, and checks it.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use store_core::{Error, ErrorKind, Result, Retry};

use crate::commit::unbuilt;
use crate::error::{BACKEND, Effect, config, from_sdk};
use crate::shared::Shared;
use crate::wire::{PK, SK, TTL};

/// How long a new table may take to become active.
const PATIENCE: Duration = Duration::from_secs(120);

/// The delay between two checks.
const PAUSE: Duration = Duration::from_millis(200);

/// The key attributes and their types.
const SHAPE: [(&str, KeyType); 2] = [(PK, KeyType::Hash), (SK, KeyType::Range)];

pub(crate) async fn setup(shared: &Shared, point_in_time_recovery: bool) -> Result<()> {
    let table = match describe(shared).await? {
        Some(table) => table,
        None => {
            create(shared).await?;
            wait_for(shared).await?
        }
    };
    check(&shared.table, &table)?;
    if table.table_status() != Some(&TableStatus::Active) {
        wait_for(shared).await?;
    }
    expire(shared).await?;
    if point_in_time_recovery {
        recover(shared).await?;
    }
    Ok(())
}

fn failed<E, R>(e: aws_sdk_dynamodb::error::SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    // Every step of setup may be repeated.
    from_sdk(e, Effect::Repeatable, "setup")
}

async fn describe(shared: &Shared) -> Result<Option<TableDescription>> {
    let asked = shared
        .reading()?
        .describe_table()
        .table_name(&shared.table)
        .send()
        .await;
    match asked {
        Ok(answer) => Ok(answer.table),
        Err(e) if e.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

async fn create(shared: &Shared) -> Result<()> {
    let mut request = shared
        .writing()?
        .create_table()
        .table_name(&shared.table)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, place) in SHAPE {
        let key = KeySchemaElement::builder().attribute_name(name);
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        request = request
            .key_schema(key.key_type(place).build().map_err(unbuilt)?)
            .attribute_definitions(attribute.build().map_err(unbuilt)?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // Another process is creating the table.
        Err(e) if e.code() == Some("ResourceInUseException") => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

async fn wait_for(shared: &Shared) -> Result<TableDescription> {
    let wait = async {
        loop {
            if let Some(table) = describe(shared).await?
                && table.table_status() == Some(&TableStatus::Active)
            {
                return Ok(table);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let late = || {
        Error::new(
            ErrorKind::Timeout,
            "the table is still being created; call setup again",
        )
        .with_retry(Retry::Safe)
        .with_backend(BACKEND)
        .with_operation("setup")
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Refuses a table with another schema; the error says what differs.
fn check(name: &str, table: &TableDescription) -> Result<()> {
    let type_of = |name: &str| {
        let mut attributes = table.attribute_definitions().iter();
        let attribute = attributes.find(|attribute| attribute.attribute_name() == name);
        attribute.map_or("nothing", |attribute| attribute.attribute_type().as_str())
    };
    let shown = |name: &str, place: &KeyType, kind: &str| {
        let place = match place {
            KeyType::Hash => "partition key",
            _ => "sort key",
        };
        format!("{place} `{name}` of type {kind}")
    };
    let found: Vec<String> = table
        .key_schema()
        .iter()
        .map(|key| {
            let name = key.attribute_name();
            shown(name, key.key_type(), type_of(name))
        })
        .collect();
    let expected = SHAPE.map(|(name, place)| shown(name, &place, "S"));
    if found != expected {
        return Err(config(format!(
            "the table {name} has the {}, but this store needs the {}; name another table, \
             which setup will create",
            found.join(" and "),
            expected.join(" and ")
        )));
    }
    if !table.local_secondary_indexes().is_empty() {
        return Err(config(format!(
            "the table {name} has a local index, which limits its partitions to 10 GB; \
             name another table, which setup will create"
        )));
    }
    Ok(())
}

/// Turns on the removal of expired items.
async fn expire(shared: &Shared) -> Result<()> {
    let asked = shared
        .reading()?
        .describe_time_to_live()
        .table_name(&shared.table)
        .send()
        .await
        .map_err(failed)?;
    if let Some(current) = asked.time_to_live_description
        && matches!(
            current.time_to_live_status(),
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        )
    {
        return match current.attribute_name() {
            Some(TTL) => Ok(()),
            other => Err(config(format!(
                "the table {} removes items by the attribute `{}`, but this store needs `{TTL}`; \
                 name another table, which setup will create",
                shared.table,
                other.unwrap_or_default()
            ))),
        };
    }
    let removal = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(TTL)
        .build()
        .map_err(unbuilt)?;
    let sent = shared
        .writing()?
        .update_time_to_live()
        .table_name(&shared.table)
        .time_to_live_specification(removal)
        .send()
        .await;
    match sent {
        Ok(_) => Ok(()),
        // Another process has just turned it on.
        Err(e) if e.code() == Some("ValidationException") => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

/// Turns on point-in-time recovery.
async fn recover(shared: &Shared) -> Result<()> {
    let on = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(true)
        .build()
        .map_err(unbuilt)?;
    shared
        .writing()?
        .update_continuous_backups()
        .table_name(&shared.table)
        .point_in_time_recovery_specification(on)
        .send()
        .await
        .map(drop)
        .map_err(failed)
}
