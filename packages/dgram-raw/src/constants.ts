/** Linux numbers (include/uapi, asm-generic: the same on x64 and arm64). */
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const IPPROTO_UDP = 17;
export const IPPROTO_RAW = 255;

export const SOL_IP = 0;
export const SOL_SOCKET = 1;
export const SOL_IPV6 = 41;

export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_RCVTIMEO = 20;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_MEMINFO = 55;
/** Index into SO_MEMINFO's words. */
export const SK_MEMINFO_DROPS = 8;
export const SK_MEMINFO_WORDS = 9;

export const IP_TOS = 1;
export const IP_RECVERR = 11;
export const IP_ORIGDSTADDR = 20;
export const IPV6_RECVERR = 25;
export const IPV6_V6ONLY = 26;
export const IPV6_TCLASS = 67;
export const IPV6_ORIGDSTADDR = 74;

export const MSG_DONTWAIT = 0x40;
export const MSG_WAITFORONE = 0x10000;
export const MSG_TRUNC = 0x20;
export const MSG_ERRQUEUE = 0x2000;

export const EPOLLIN = 1;
export const EPOLL_CTL_ADD = 1;
