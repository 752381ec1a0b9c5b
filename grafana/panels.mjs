// What the dashboards show, in rows from left to right. `node scripts/dashboards.mjs` turns it into Grafana's JSON.
// A panel: [title, unit, queries, width of 24, kind]; a query: [expression, legend].

const rate = (metric, by = '') =>
  `sum${by === '' ? '' : ` by (${by})`} (rate(${metric}{job="$job"}[$__rate_interval]))`;
const level = (metric, by = '', labels = '') =>
  `sum${by === '' ? '' : ` by (${by})`} (${metric}{job="$job"${labels === '' ? '' : `,${labels}`}})`;
const quantile = (q, metric) =>
  `histogram_quantile(${q}, sum by (le) (rate(${metric}_bucket{job="$job"}[$__rate_interval])))`;

export const DASHBOARDS = [
  {
    file: 'border',
    title: 'Drawbridge: the border',
    rows: [
      {
        title: 'At a glance',
        panels: [
          ['Calls under way', 'short', [[level('drawbridge_calls'), 'calls']], 4, 'stat'],
          [
            'Answered of all calls',
            'percentunit',
            [
              [
                `sum (rate(drawbridge_calls_ended_total{job="$job",outcome="answered"}[$__rate_interval])) / ${rate('drawbridge_calls_ended_total')}`,
                'answered',
              ],
            ],
            4,
            'stat',
          ],
          ['Registered contacts', 'short', [[level('drawbridge_bindings'), 'contacts']], 4, 'stat'],
          ['Opinion score, median', 'none', [[quantile(0.5, 'drawbridge_media_mos'), 'MOS']], 4, 'stat'],
          ['CPU', 'percentunit', [[rate('process_cpu_seconds_total'), 'of one core']], 4, 'stat'],
          ['Faults caught', 'short', [[level('drawbridge_faults_total'), 'faults']], 4, 'stat'],
        ],
      },
      {
        title: 'Calls',
        panels: [
          [
            'Calls',
            'short',
            [
              [level('drawbridge_calls'), 'under way'],
              [level('drawbridge_emergency_calls'), 'emergency'],
              [level('drawbridge_transfers'), 'transfers'],
            ],
            8,
          ],
          ['How calls end, per second', 'cps', [[rate('drawbridge_calls_ended_total', 'outcome'), '{{outcome}}']], 8],
          [
            'Time to the answer',
            's',
            [
              [quantile(0.5, 'drawbridge_call_setup_seconds'), 'median'],
              [quantile(0.95, 'drawbridge_call_setup_seconds'), '95 %'],
            ],
            8,
          ],
          [
            'Length of calls',
            's',
            [
              [quantile(0.5, 'drawbridge_call_talk_seconds'), 'median'],
              [quantile(0.95, 'drawbridge_call_talk_seconds'), '95 %'],
            ],
            8,
          ],
          ['Forwarded, per second', 'cps', [[rate('drawbridge_forwarded_total', 'why'), '{{why}}']], 8],
          [
            'Transfers by outcome, per second',
            'cps',
            [[rate('drawbridge_transfers_total', 'outcome'), '{{outcome}}']],
            8,
          ],
          [
            'Why messages, calls and packets were refused or ended',
            'cps',
            [[`topk(12, ${rate('drawbridge_reason_total', 'stage, reason')} > 0)`, '{{stage}}: {{reason}}']],
            8,
          ],
        ],
      },
      {
        title: 'Trunks',
        panels: [
          [
            'Up',
            'short',
            [
              [level('drawbridge_trunk_up', 'trunk'), '{{trunk}}'],
              [level('drawbridge_trunk_registered', 'trunk'), '{{trunk}} registered'],
            ],
            8,
          ],
          ['Calls on trunks', 'short', [[level('drawbridge_trunk_calls', 'trunk'), '{{trunk}}']], 8],
          [
            'Calls per second',
            'cps',
            [[rate('drawbridge_trunk_calls_total', 'trunk, direction'), '{{trunk}} {{direction}}']],
            8,
          ],
          [
            'Failures per second',
            'cps',
            [[rate('drawbridge_trunk_failures_total', 'trunk, class'), '{{trunk}} {{class}}']],
            8,
          ],
          [
            'Calls that found a trunk full, per second',
            'cps',
            [[rate('drawbridge_trunk_full_total', 'trunk'), '{{trunk}}']],
            8,
          ],
          ['Round trip of OPTIONS', 's', [[level('drawbridge_trunk_rtt_seconds', 'trunk'), '{{trunk}}']], 8],
        ],
      },
      {
        title: 'Media',
        panels: [
          ['Media sessions', 'short', [[level('drawbridge_relay_sessions'), 'sessions']], 6],
          ['Packets per second', 'pps', [[rate('drawbridge_relay_packets_total', 'direction'), '{{direction}}']], 6],
          ['Port pairs', 'short', [[level('drawbridge_relay_port_pairs', 'state'), '{{state}}']], 6],
          [
            'Opinion score',
            'none',
            [
              [quantile(0.5, 'drawbridge_media_mos'), 'median'],
              [quantile(0.1, 'drawbridge_media_mos'), 'worst tenth'],
            ],
            6,
          ],
          [
            'What carries media',
            'none',
            [[`max by (realm, path) (drawbridge_relay_path{job="$job"})`, '{{realm}}: {{path}}']],
            24,
            'table',
          ],
        ],
      },
      {
        title: 'Messages',
        panels: [
          ['Requests per second', 'reqps', [[rate('drawbridge_requests_total', 'method'), '{{method}}']], 8],
          ['Responses per second', 'reqps', [[rate('drawbridge_responses_total', 'class'), '{{class}}']], 8],
          [
            'Messages by transport, per second',
            'reqps',
            [
              [rate('drawbridge_sip_received_total', 'transport'), '{{transport}} in'],
              [rate('drawbridge_sip_sent_total', 'transport'), '{{transport}} out'],
            ],
            8,
          ],
          [
            'Lost on our side, per second',
            'cps',
            [
              [rate('drawbridge_sip_kernel_drops_total'), 'queue full in the kernel'],
              [rate('drawbridge_sip_send_errors_total'), 'not taken by the kernel'],
              [rate('drawbridge_sends_refused_total'), 'no socket took it'],
            ],
            8,
          ],
          [
            'Transactions and flows',
            'short',
            [
              [level('drawbridge_transactions', 'side'), '{{side}} transactions'],
              [level('drawbridge_flows'), 'flows'],
            ],
            8,
          ],
          ['Flows given up, per second', 'cps', [[rate('drawbridge_flows_evicted_total'), 'flows']], 8],
          ['Streams', 'short', [[level('drawbridge_streams', 'transport'), '{{transport}}']], 8],
          [
            'Streams closed by us, per second',
            'cps',
            [
              [rate('drawbridge_streams_cut_total'), 'deadline or framing'],
              [rate('drawbridge_streams_turned_away_total'), 'too many'],
              [rate('drawbridge_stream_strangers_total'), 'nobody authenticated'],
              [rate('drawbridge_stream_unopened_total'), 'TLS or WebSocket not agreed on'],
            ],
            8,
          ],
          [
            'Certificates end in',
            's',
            [
              [`min by (realm) (drawbridge_tls_certificate_expiry_seconds{job="$job"})`, '{{realm}}'],
              [rate('drawbridge_tls_certificate_reloads_total', 'realm, result'), '{{realm}} read again: {{result}}'],
            ],
            8,
          ],
        ],
      },
      {
        title: 'Next hops and name service',
        panels: [
          ['Next hops', 'short', [[level('drawbridge_next_hops', 'peer, state'), '{{peer}} {{state}}']], 8],
          [
            'Questions to the DNS, per second',
            'reqps',
            [
              [rate('drawbridge_dns_queries_total', 'result'), '{{result}}'],
              [level('drawbridge_dns_open'), 'under way'],
            ],
            8,
          ],
          ['Answers remembered', 'short', [[level('drawbridge_dns_cache_entries'), 'entries']], 8],
        ],
      },
      {
        title: 'Records and copies',
        panels: [
          ['Call records per second', 'cps', [[rate('drawbridge_cdr_total', 'to, result'), '{{to}} {{result}}']], 8],
          ['Call records that wait', 'short', [[level('drawbridge_cdr_waiting', 'to'), '{{to}}']], 8],
          [
            'Copies to the HEP collector, per second',
            'pps',
            [[rate('drawbridge_hep_packets_total', 'result'), '{{result}}']],
            8,
          ],
        ],
      },
      {
        title: 'The process',
        panels: [
          [
            'Memory',
            'bytes',
            [
              [level('process_resident_memory_bytes'), 'resident'],
              [level('nodejs_heap_size_used_bytes'), 'heap'],
              [level('nodejs_external_memory_bytes'), 'outside the heap'],
            ],
            6,
          ],
          [
            'How late the event loop runs',
            's',
            [[`max by (quantile) (drawbridge_event_loop_delay_seconds{job="$job"})`, '{{quantile}}']],
            6,
          ],
          [
            'File descriptors',
            'short',
            [
              [level('process_open_fds'), 'open'],
              [level('process_max_fds'), 'allowed'],
            ],
            6,
          ],
          [
            'Faults',
            'short',
            [
              [level('drawbridge_faults_total'), 'caught'],
              [level('drawbridge_metrics_read_faults_total'), 'while reading metrics'],
            ],
            6,
          ],
        ],
      },
    ],
  },
  {
    file: 'registrations',
    title: 'Drawbridge: registrations and NATs',
    rows: [
      {
        title: 'Registrations',
        panels: [
          [
            'Registered contacts',
            'short',
            [
              [level('drawbridge_bindings'), 'contacts'],
              [level('drawbridge_bindings_in_grace'), 'whose upstream is silent'],
            ],
            8,
          ],
          ['Made, moved, ended, per second', 'cps', [[rate('drawbridge_binding_events_total', 'what'), '{{what}}']], 8],
          [
            'Subscribers',
            'short',
            [
              [level('drawbridge_subscribers'), 'with a password here'],
              [level('drawbridge_forwarding_subscribers'), 'with forwarding'],
            ],
            8,
          ],
          [
            'REGISTERs per second',
            'reqps',
            [['sum (rate(drawbridge_requests_total{job="$job",method="REGISTER"}[$__rate_interval]))', 'received']],
            8,
          ],
          [
            'Of upstream domains: who answered, per second',
            'reqps',
            [[rate('drawbridge_upstream_registers_total', 'answered'), '{{answered}}']],
            8,
          ],
          [
            'Refused or challenged, per second',
            'cps',
            [
              [
                `sum by (reason) (rate(drawbridge_reason_total{job="$job",stage=~"authenticate|registrar"}[$__rate_interval])) > 0`,
                '{{reason}}',
              ],
            ],
            8,
          ],
          [
            'Batches to the store, per second',
            'cps',
            [[rate('drawbridge_store_commits_total', 'result'), '{{result}}']],
            8,
          ],
          ['Batches that wait for the store', 'short', [[level('drawbridge_store_waiting'), 'batches']], 8],
        ],
      },
      {
        title: 'NATs',
        panels: [
          [
            'NAT addresses whose patience is known or searched for',
            'short',
            [[level('drawbridge_keepalive_nats'), 'addresses']],
            8,
          ],
          ['SIP ALGs found out, per second', 'cps', [[rate('drawbridge_alg_findings_total', 'kind'), '{{kind}}']], 8],
          [
            'Calls that moved, media refused, per second',
            'cps',
            [
              [
                `sum by (reason) (rate(drawbridge_reason_total{job="$job",stage="anchor"}[$__rate_interval])) > 0`,
                '{{reason}}',
              ],
            ],
            8,
          ],
        ],
      },
      {
        title: 'Push',
        panels: [
          ['Pushes per second', 'cps', [[rate('drawbridge_push_total', 'reason'), 'for {{reason}}']], 8],
          [
            'What came of them, per second',
            'cps',
            [[rate('drawbridge_push_outcome_total', 'outcome'), '{{outcome}}']],
            8,
          ],
          ['Waiting for a phone to wake', 'short', [[level('drawbridge_push_waiting'), 'calls and messages']], 8],
        ],
      },
    ],
  },
];
