//! The functions that replace the C library's. Each passes the call on and notes its outcome.
//!
//! Offsets are unsigned in the table: a call that succeeded had no negative one.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{iovec, off64_t, size_t, ssize_t};

use crate::table::{Slot, key_of};

/// The C library's own function of a name, looked up once.
struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// The address, to be called with the signature of the hook it belongs to.
    fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string; RTLD_NEXT finds the function behind this library.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // SAFETY: nothing can be done without the function that was asked for.
            unsafe { libc::abort() };
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// The slot of a regular file that is watched.
fn slot(descriptor: c_int) -> Option<&'static Slot> {
    crate::table()?.slot(key_of(descriptor)?)
}

/// Notes a write at the file's own position; only a regular file has one.
fn wrote_at_position(slot: &Slot, descriptor: c_int, count: ssize_t) {
    let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else { return };
    // SAFETY: asks for the position, changes nothing.
    let position = unsafe { libc::lseek(descriptor, 0, libc::SEEK_CUR) };
    if let Ok(position) = u64::try_from(position) {
        slot.wrote(position.saturating_sub(count), position);
    }
}

/// Notes a write at an offset.
fn wrote_at(slot: &Slot, count: ssize_t, offset: off64_t) {
    let (Ok(count), Ok(offset)) = (u64::try_from(count), u64::try_from(offset)) else { return };
    if count > 0 {
        slot.wrote(offset, offset + count);
    }
}

/// Passes a sync on, and keeps what was written before it began; or fails it as a broken disk does.
fn synced(descriptor: c_int, sync: impl FnOnce() -> c_int) -> c_int {
    let slot = slot(descriptor);
    if let Some(slot) = slot
        && let Some(table) = crate::table().filter(|table| table.is_failing())
    {
        slot.fail();
        table.count_failed_sync();
        // SAFETY: the location is this thread's own.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    let promise = slot.map(Slot::promise);
    let result = sync();
    if result == 0
        && let (Some(slot), Some(promise)) = (slot, promise)
    {
        slot.keep(promise);
        if let Some(table) = crate::table() {
            table.count_sync();
        }
    }
    result
}

/// Notes a new end of the file: shorter takes data away, longer adds none.
fn truncated(slot: &Slot, length: off64_t) {
    if let Ok(length) = u64::try_from(length) {
        slot.truncated_to(length);
    }
}

/// Notes space reserved from `offset` on.
fn allocated(slot: &Slot, mode: c_int, offset: off64_t, length: off64_t) {
    if mode & libc::FALLOC_FL_KEEP_SIZE != 0 {
        return;
    }
    if let Ok(end) = u64::try_from(offset + length) {
        slot.allocated_up_to(end);
    }
}

/// Replaces functions of the C library: `name(descriptor, arguments) -> result, then what is noted`
/// of a regular file that is watched. The slot says that a call is on its way, so that a test that
/// kills the process between a write and the note of it knows why the file is longer.
macro_rules! replace {
    ($(
        $name:ident($fd:ident: c_int, $($argument:ident: $kind:ty),*) -> $result:ty,
            |$slot:ident, $outcome:ident| $note:expr;
    )*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($fd: c_int, $($argument: $kind),*) -> $result {
                static NEXT: Next = Next::new(match CStr::from_bytes_with_nul(
                    concat!(stringify!($name), "\0").as_bytes(),
                ) {
                    Ok(name) => name,
                    Err(_) => panic!("a name with a nul in it"),
                });
                // SAFETY: the C library's function of this name has this signature.
                let next: unsafe extern "C" fn(c_int, $($kind),*) -> $result =
                    unsafe { std::mem::transmute(NEXT.address()) };
                let Some($slot) = slot($fd) else {
                    // SAFETY: the caller's promises to the function are passed on unchanged.
                    return unsafe { next($fd, $($argument),*) };
                };
                $slot.begin();
                // SAFETY: as above.
                let $outcome = unsafe { next($fd, $($argument),*) };
                // What is noted may fail; the caller has to find the errno of its own call.
                // SAFETY: the location is this thread's own.
                let errno = unsafe { *libc::__errno_location() };
                $note;
                $slot.end();
                // SAFETY: as above.
                unsafe { *libc::__errno_location() = errno };
                $outcome
            }
        )*
    };
}

replace! {
    write(fd: c_int, data: *const c_void, count: size_t) -> ssize_t,
        |slot, done| wrote_at_position(slot, fd, done);
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t,
        |slot, done| wrote_at_position(slot, fd, done);
    pwrite(fd: c_int, data: *const c_void, count: size_t, offset: off64_t) -> ssize_t,
        |slot, done| wrote_at(slot, done, offset);
    pwrite64(fd: c_int, data: *const c_void, count: size_t, offset: off64_t) -> ssize_t,
        |slot, done| wrote_at(slot, done, offset);
    pwritev(fd: c_int, parts: *const iovec, count: c_int, offset: off64_t) -> ssize_t,
        |slot, done| wrote_at(slot, done, offset);
    pwritev64(fd: c_int, parts: *const iovec, count: c_int, offset: off64_t) -> ssize_t,
        |slot, done| wrote_at(slot, done, offset);
    ftruncate(fd: c_int, length: off64_t) -> c_int,
        |slot, result| if result == 0 { truncated(slot, length) };
    ftruncate64(fd: c_int, length: off64_t) -> c_int,
        |slot, result| if result == 0 { truncated(slot, length) };
    fallocate(fd: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int,
        |slot, result| if result == 0 { allocated(slot, mode, offset, length) };
    fallocate64(fd: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int,
        |slot, result| if result == 0 { allocated(slot, mode, offset, length) };
    posix_fallocate(fd: c_int, offset: off64_t, length: off64_t) -> c_int,
        |slot, result| if result == 0 { allocated(slot, 0, offset, length) };
    posix_fallocate64(fd: c_int, offset: off64_t, length: off64_t) -> c_int,
        |slot, result| if result == 0 { allocated(slot, 0, offset, length) };
}

/// Replaces a sync, which has to look at the table before the call as well.
macro_rules! replace_sync {
    ($($name:ident: $text:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(fd: c_int) -> c_int {
                static NEXT: Next = Next::new($text);
                // SAFETY: the C library's function of this name has this signature.
                let next: unsafe extern "C" fn(c_int) -> c_int =
                    unsafe { std::mem::transmute(NEXT.address()) };
                // SAFETY: the caller's promises to the function are passed on unchanged.
                synced(fd, || unsafe { next(fd) })
            }
        )*
    };
}

replace_sync! {
    fsync: c"fsync";
    fdatasync: c"fdatasync";
}
