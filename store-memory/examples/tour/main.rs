//! A tour of everything that the store does, on real input.
//!
//! `cargo run --release -p store-memory --example tour -- [FILE] [--platform FILE.json]`

mod company;
mod keys;
mod launches;
mod limits;
mod objects;
mod options;
mod screen;

use std::process::ExitCode;

use store_core::Store;
use store_memory::MemoryStore;

use options::Options;
use screen::Screen;

/// The result of a chapter; an error is one line that says what to do.
type Tour = Result<(), String>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::from_args(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    match tour(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("tour: {error}");
    ExitCode::FAILURE
}

async fn tour(options: &Options) -> Tour {
    let platform = launches::platform(options)?;
    let source = objects::Source::new(options)?;
    let screen = Screen::new();
    let store = Store::from(MemoryStore::new());
    keys::chapter(&screen, &store).await?;
    limits::chapter(&screen, &store).await?;
    objects::chapter(&screen, &store, source).await?;
    launches::chapter(&screen, &store, platform).await?;
    company::chapter(&screen, &store).await?;
    store.close().await.map_err(said)?;
    screen.end("Everything above went through the same traits that every backend has.");
    Ok(())
}

/// An error as one line.
fn said(error: impl std::error::Error) -> String {
    error.to_string().replace('\n', " ")
}

/// An error if the promise `what` does not hold.
fn must(so: bool, what: &str) -> Tour {
    if so {
        Ok(())
    } else {
        Err(format!("a promise was broken: {what}; please report this"))
    }
}
