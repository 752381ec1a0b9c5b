import type { StreamCounters, StreamFacts } from './api.js';
import type { SideStats } from './control/command.js';
import type { Leg } from './leg.js';
import { meanOpinion } from './quality.js';
import type { RelayHub } from './relay.js';

/** What is known of a leg's streams that have ports, for the console, CDRs and a verdict on one-way audio. */
export function streamFacts(leg: Leg, hub: RelayHub): StreamFacts[] {
  const path = hub.pathOf(leg.address);
  return leg.streams.flatMap((s, index) => {
    if (s.side === undefined) return [];
    const reply = hub.apply({ do: 'stats', side: s.side.id });
    if (!reply.ok || !('stats' in reply)) return [];
    const { stats } = reply;
    const d = s.current?.description;
    return [
      {
        leg: leg.id,
        index,
        kind: s.kind,
        local: s.side.local,
        remote: d?.rtp ?? undefined,
        latched: stats.latched ?? undefined,
        latchedRtcp: stats.latchedRtcp ?? undefined,
        direction: d?.direction ?? 'inactive',
        mux: s.current?.mux ?? false,
        natted: d?.rtp !== null && d?.rtp !== undefined && d.rtp.address !== s.current?.seenFrom,
        path: path.kind,
        because: path.because,
        silentMs: stats.lastRtp === 0 ? undefined : hub.now() - stats.lastRtp,
        counters: counters(stats),
        mos: opinion(stats, s.reports.reported?.roundTripMs),
        reported: s.reports.reported,
      },
    ];
  });
}

/** Of what arrived here: packets that sequence numbers miss, our own jitter, and half the way there and back. */
function opinion(s: SideStats, roundTripMs: number | undefined): number | undefined {
  const rtp = s.packets - s.rtcp;
  if (rtp <= 0 || s.ssrc === null) return undefined;
  return meanOpinion((100 * s.lost) / (rtp + s.lost), (roundTripMs ?? 0) / 2, s.jitterMs);
}

function counters(s: SideStats): StreamCounters {
  return {
    packets: s.packets,
    bytes: s.bytes,
    sent: s.sent,
    rtcp: s.rtcp,
    lost: s.lost,
    jitterMs: s.jitterMs,
    ssrc: s.ssrc ?? undefined,
    wrongSource: s.wrongSource,
    notRtp: s.notRtp,
    noTarget: s.noTarget,
    held: s.held,
    sendFailed: s.sendFailed,
  };
}
