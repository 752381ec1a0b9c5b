import type { Reason } from '@drawbridge/core';
import type { Metrics } from '@drawbridge/service';
import type { BorderEvent } from '../events.js';

/** How calls end, as an operator counts them; a cause that isn't here counts as `failed`. */
const OUTCOMES: Partial<Record<Reason, string>> = {
  busy: 'busy',
  'no-answer': 'no-answer',
  'not-found': 'not-found',
  declined: 'declined',
  cancelled: 'cancelled',
};
const OUTCOME_NAMES = ['answered', ...new Set(Object.values(OUTCOMES)), 'failed'] as const;
const BINDING_EVENTS = ['made', 'moved', 'removed', 'expired', 'flow-gone'] as const;

type Noted = (e: BorderEvent) => void;

/** Series that come from what happens rather than from what there is. Gives the function that is told. */
export function eventMetrics(metrics: Metrics): Noted {
  const outcomes = new Map<string, number>(OUTCOME_NAMES.map(name => [name, 0]));
  const bindings = new Map<string, number>(BINDING_EVENTS.map(name => [name, 0]));
  const add = (to: Map<string, number>, name: string): void => void to.set(name, (to.get(name) ?? 0) + 1);
  metrics.counterFrom('drawbridge_calls_ended_total', 'Calls that ended, answered or why not', ['outcome'], () =>
    [...outcomes].map(([outcome, n]) => [{ outcome }, n] as const),
  );
  metrics.counterFrom(
    'drawbridge_binding_events_total',
    'Contacts registered, moved, and why they ended',
    ['what'],
    () => [...bindings].map(([what, n]) => [{ what }, n] as const),
  );
  const setup = metrics.histogram(
    'drawbridge_call_setup_seconds',
    'From INVITE to answer',
    [],
    [0.1, 0.5, 1, 2, 5, 10, 20, 40, 60],
  );
  const talk = metrics.histogram(
    'drawbridge_call_talk_seconds',
    'From answer to end',
    [],
    [1, 10, 30, 60, 180, 600, 1800, 3600, 7200],
  );
  const opinion = metrics.histogram(
    'drawbridge_media_mos',
    'Opinion score of each stream that reached us, over its whole call',
    [],
    [1.5, 2, 2.5, 3, 3.5, 3.8, 4, 4.2, 4.4],
  );
  return e => {
    switch (e.kind) {
      case 'call-ended':
        add(outcomes, e.talkedMs > 0 ? 'answered' : (OUTCOMES[e.cause] ?? 'failed'));
        if (e.talkedMs > 0) {
          setup.observe((e.lastedMs - e.talkedMs) / 1000);
          talk.observe(e.talkedMs / 1000);
        }
        for (const m of e.media) if (m.mos !== undefined) opinion.observe(m.mos);
        return;
      case 'binding-made':
      case 'binding-moved':
        return add(bindings, e.kind.slice('binding-'.length));
      case 'binding-ended':
        return add(bindings, e.why);
      default:
    }
  };
}
