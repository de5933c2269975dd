//! Socket options that neither std nor socket2 wraps.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, socklen_t};

/// Sets an option whose value is a plain C structure.
///
/// # Errors
/// What setsockopt(2) reports; ENOPROTOOPT means that this kernel lacks the option.
///
/// # Safety
/// `T` must be the type that the kernel reads for this option; pointers inside it must be valid for the call.
pub(crate) unsafe fn set_raw<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call; the kernel only reads it.
    let status = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            mem::size_of::<T>() as socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an integer option.
///
/// # Errors
/// What setsockopt(2) reports.
pub(crate) fn set_int(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: an int holds no pointer, and the kernel accepts an int for every option that this room names.
    unsafe { set_raw(fd, level, name, &value) }
}

/// Reads an array of 32-bit integers; the kernel may fill fewer, the rest stays zero.
///
/// # Errors
/// What getsockopt(2) reports.
pub(crate) fn read_ints<const N: usize>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<[u32; N]> {
    let mut values = [0_u32; N];
    let mut length = mem::size_of_val(&values) as socklen_t;
    // SAFETY: the buffer is ours and `length` says how many bytes of it the kernel may write; any bits are valid u32.
    let status =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, values.as_mut_ptr().cast::<c_void>(), &mut length) };
    if status == 0 { Ok(values) } else { Err(io::Error::last_os_error()) }
}

/// Takes the error that is pending on a socket, so that the next call does not report it as its own.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> Option<io::Error> {
    match read_ints::<1>(fd, libc::SOL_SOCKET, libc::SO_ERROR) {
        Ok([0]) => None,
        Ok([code]) => Some(io::Error::from_raw_os_error(code as i32)),
        Err(error) => Some(error),
    }
}
