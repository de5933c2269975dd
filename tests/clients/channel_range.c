/*
 * Preloaded into turnutils_uclient. It draws channel numbers at random from RFC 5766's range, 0x4000-0x7FFF; RFC 8656
 * section 12 left 0x4000-0x4FFF of it, and a server must refuse the rest. The draw is `0x4000 + long % 0x4000`, the long
 * from RAND_bytes: two bits less of it keep every draw in the range that is left.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

int RAND_bytes(unsigned char *buffer, int length)
{
    static int (*drawn)(unsigned char *, int);
    if (!drawn)
        drawn = (int (*)(unsigned char *, int))dlsym(RTLD_NEXT, "RAND_bytes");
    int done = drawn(buffer, length);
    if (length == sizeof(long))
        buffer[1] &= 0xCF;
    return done;
}
