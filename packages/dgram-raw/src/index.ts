export { SocketError, KernelError, type SocketReason, type KernelReason } from './errors.js';
export { openUdp, type UdpListener, type UdpOptions, type UdpCounters } from './udp.js';
export { probe, type Probe, type ProbeReport } from './probe.js';
