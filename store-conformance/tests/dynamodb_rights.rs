//! The rights in store-dynamodb's documentation suffice for every call of every contract.
//!
//! On MiniStack, which evaluates IAM's policies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::servers::{Options, Server, dynamodb, missing};
use store_conformance::trips;
use store_core::{ErrorKind, ManualClock, Store};
use store_dynamodb::{DynamoDbBuilder, DynamoDbStore};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The documentation with the policy.
const DOCUMENTATION: &str = include_str!("../../store-dynamodb/src/lib.rs");

fn main() -> ExitCode {
    let server = match dynamodb::with_rights(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let trial = |name: &str, test: fn(&str) -> Result<(), Failure>| {
        let endpoint = server.url().to_owned();
        Trial::test(name, move || {
            test(&endpoint).map_err(|error| Failed::from(format!("{error:?}")))
        })
    };
    let trials = vec![
        trial("the_documented_rights_suffice", suffice),
        trial("a_missing_right_is_permission_denied", denied),
    ];
    let ended = libtest_mimic::run(&Arguments::from_args(), trials);
    drop::<Server>(server);
    ended.exit_code()
}

/// The policy of the documentation, for another table.
fn policy(table: &str) -> Result<serde_json::Value, Failure> {
    let (_, text) = DOCUMENTATION.split_once("```json").ok_or("no policy")?;
    let (text, _) = text
        .split_once("//! ```")
        .ok_or("the policy does not end")?;
    let text = text
        .replace("//!", "")
        .replace("table/app", &format!("table/{table}"));
    Ok(serde_json::from_str(&text)?)
}

/// Sends a request to IAM by the administrator's key, of which any signature is valid.
fn iam(endpoint: &str, query: &str) -> Result<String, Failure> {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: iam.amazonaws.com\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         X-Amz-Date: 20300101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={}/20300101/{}/iam/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\r\n{query}",
        query.len(),
        dynamodb::KEY_ID,
        dynamodb::REGION
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(answer),
        false => Err(answer.into()),
    }
}

/// The content of the element of this name.
fn element<'x>(xml: &'x str, name: &str) -> Result<&'x str, Failure> {
    let (_, rest) = xml.split_once(&format!("<{name}>")).ok_or(name)?;
    Ok(rest.split_once('<').ok_or(name)?.0)
}

/// Creates a user with only this policy, and returns the builder of the user's store.
fn user(
    endpoint: &str,
    name: &str,
    policy: &serde_json::Value,
) -> Result<DynamoDbBuilder, Failure> {
    let escaped: String = policy
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let call = |query: String| iam(endpoint, &format!("Version=2010-05-08&{query}"));
    call(format!("Action=CreateUser&UserName={name}"))?;
    call(format!(
        "Action=PutUserPolicy&UserName={name}&PolicyName=own&PolicyDocument={escaped}"
    ))?;
    let key = call(format!("Action=CreateAccessKey&UserName={name}"))?;
    Ok(DynamoDbStore::builder()
        .endpoint(endpoint)
        .region(dynamodb::REGION)
        .credentials(
            element(&key, "AccessKeyId")?,
            element(&key, "SecretAccessKey")?,
        )
        .clock(ManualClock::default())
        .table(name))
}

#[tokio::main]
async fn suffice(endpoint: &str) -> Result<(), Failure> {
    let policy = policy("whole")?;
    let store = user(endpoint, "whole", &policy)?.connect().await?;
    store.setup().await?;
    trips::count(&Store::from(&store), &|| 0).await?;
    Store::from(&store).blobs().sweep().await?;
    // The second statement is for setup alone.
    let mut running = policy;
    let statements = running["Statement"].as_array_mut().ok_or("no statements")?;
    statements.truncate(1);
    let builder = user(endpoint, "running", &running)?.table("whole");
    let store = builder.connect().await?;
    Store::from(&store).blobs().sweep().await?;
    let refused = store.setup().await.expect_err("the user has no such right");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    Ok(())
}

#[tokio::main]
async fn denied(endpoint: &str) -> Result<(), Failure> {
    let store = user(endpoint, "elsewhere", &policy("another")?)?
        .connect()
        .await?;
    let refused = store
        .setup()
        .await
        .expect_err("the policy is for another table");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    Ok(())
}
