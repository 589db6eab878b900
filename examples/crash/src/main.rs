//! Says something and breaks: for tests of what happens then.

fn main() {
    println!("about to break");
    panic!("this guest always breaks");
}
