/*
 * Preloaded into turnutils_uclient 4.6, which draws at random what today's RFCs leave no choice in:
 *
 * - channel numbers from RFC 5766's range, 0x4000-0x7FFF, of which RFC 8656 section 12 left 0x4000-0x4FFF. The draw is
 *   `0x4000 + long % 0x4000`, the long from RAND_bytes: two bits less of it keep every draw in the range that is left.
 *   There, two channels of an allocation would too often be the same, which is 400: a counter keeps them apart;
 * - protocol versions, among them TLS 1.0, TLS 1.1 and DTLS 1.0, which RFC 8996 retired: 1.2 stands in for them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

int RAND_bytes(unsigned char *buffer, int length)
{
    static int (*drawn)(unsigned char *, int);
    if (!drawn)
        drawn = (int (*)(unsigned char *, int))dlsym(RTLD_NEXT, "RAND_bytes");
    int done = drawn(buffer, length);
    if (length == sizeof(long)) {
        static unsigned count;
        unsigned low = (count++ << 1 & 0xFFE) | (buffer[0] & 1);
        buffer[0] = low & 0xFF;
        buffer[1] = (buffer[1] & 0xC0) | low >> 8;
    }
    return done;
}

static const void *method(const char *name)
{
    return ((const void *(*)(void))dlsym(RTLD_NEXT, name))();
}

const void *DTLSv1_client_method(void) { return method("DTLSv1_2_client_method"); }
const void *TLSv1_client_method(void) { return method("TLSv1_2_client_method"); }
const void *TLSv1_1_client_method(void) { return method("TLSv1_2_client_method"); }
