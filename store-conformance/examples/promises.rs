//! Prints which cases keep which promise and which mutants prove the cases:
//! `cargo run -p store-conformance --example promises`.

fn main() {
    print!("{}", store_conformance::promises::table());
}
