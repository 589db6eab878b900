//! A container's log.
/// One stream of one container.
#[derive(Clone)]
pub struct Writer {
    _inner: (),
}
