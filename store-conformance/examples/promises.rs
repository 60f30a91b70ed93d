//! Prints the cases of each promise and the mutants that each case kills:
//! `cargo run -p store-conformance --example promises`.

fn main() {
    print!("{}", store_conformance::promises::table());
}
