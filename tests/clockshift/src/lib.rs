//! A library for `LD_PRELOAD` that stands before the C library's clocks and moves the time of day
//! by `RANGEKEEPER_CLOCK_SHIFT_SECONDS`, as on a machine whose clock was set wrongly. Clocks that
//! only measure how much time goes by are left alone. Without the variable nothing is moved.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicI64, Ordering};

use libc::{clockid_t, time_t, timespec, timeval};

/// How far the time of day is moved, in seconds; negative into the past.
const VARIABLE: &CStr = c"RANGEKEEPER_CLOCK_SHIFT_SECONDS";

/// Until the variable was looked at.
const UNKNOWN: i64 = i64::MIN;

/// The shift. No lock and nothing allocated: the clock is read before all else is set up.
fn shift_seconds() -> i64 {
    static SHIFT: AtomicI64 = AtomicI64::new(UNKNOWN);
    let known = SHIFT.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known;
    }
    // SAFETY: both read a C string that nobody changes while the process runs.
    let shift = unsafe {
        let value = libc::getenv(VARIABLE.as_ptr());
        if value.is_null() { 0 } else { libc::atoll(value) }
    };
    SHIFT.store(shift, Ordering::Relaxed);
    shift
}

/// The kernel's own answer. Asked for by the system call: the C library's function of this name is
/// the one that is replaced here.
///
/// # Safety
///
/// `time` is null or may be written to.
unsafe fn kernels(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise is the one that the call asks for.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    c_int::try_from(result).expect("the call answers 0 or -1")
}

/// The time of day, moved.
fn time_of_day() -> timespec {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is a local variable.
    unsafe { kernels(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec += shift_seconds();
    time
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promises are passed on unchanged.
    let result = unsafe { kernels(clock, time) };
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: the kernel has just written to it.
        unsafe { (*time).tv_sec += shift_seconds() };
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let timespec { tv_sec, tv_nsec } = time_of_day();
    if !time.is_null() {
        // SAFETY: it is not null, and the caller promises that it may be written to.
        unsafe { *time = timeval { tv_sec, tv_usec: tv_nsec / 1000 } };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let now = time_of_day().tv_sec;
    if !time.is_null() {
        // SAFETY: it is not null, and the caller promises that it may be written to.
        unsafe { *time = now };
    }
    now
}
