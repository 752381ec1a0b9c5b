// Who may import whom. docs in ARCHITECTURE.md; `npm run check` runs it.

/** What each package may import besides itself, as in the design: sbc stands on all of them. */
const ARROWS = {
  core: [],
  sdp: ['core'],
  'dgram-raw': ['core'],
  sip: ['core', 'dgram-raw'],
  service: ['core', 'dgram-raw'],
  'media-relay': ['core', 'sdp', 'dgram-raw', 'service'],
  sbc: ['core', 'sdp', 'sip', 'dgram-raw', 'service', 'media-relay'],
};

/** Rooms with sockets, clocks and files. */
const SHELLS = [
  '^packages/.+/shell/',
  '^packages/[^/]+/src/main\\.ts$',
  '^packages/.+/commands/',
  '^packages/dgram-raw/src/',
  '^packages/service/src/',
];

/** Node's modules that compute and touch nothing outside. */
const PURE_NODE = '^(?:node:)?(?:crypto|buffer)$';

const arrows = Object.entries(ARROWS).map(([name, allowed]) => ({
  name: `arrows-of-${name}`,
  comment: `packages/${name} may import ${allowed.length === 0 ? 'no other package' : allowed.join(', ')}.`,
  severity: 'error',
  from: { path: `^packages/${name}/src/` },
  to: { path: '^packages/', pathNot: [name, ...allowed].map(p => `^packages/${p}/`) },
}));

module.exports = {
  forbidden: [
    ...arrows,
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one file, or miss a third.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'io-in-shells-only',
      comment: 'A pure core gets time, randomness and bytes as arguments.',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/', pathNot: SHELLS },
      to: { dependencyTypes: ['core'], pathNot: PURE_NODE },
    },
    {
      name: 'nothing-pure-imports-a-shell',
      comment: 'The composition root hands shells to cores, cores never reach for them.',
      severity: 'error',
      from: {
        path: '^packages/[^/]+/src/',
        pathNot: [...SHELLS, '^packages/[^/]+/src/index\\.ts$', '^packages/sbc/src/compose\\.ts$'],
      },
      to: { path: '/shell/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'by-the-front-door',
      comment: "Other packages' insides are theirs: import the package by its name.",
      severity: 'error',
      from: { path: '^packages/([^/]+)/' },
      to: { path: '^packages/([^/]+)/src/', pathNot: ['^packages/$1/', '^packages/[^/]+/src/index\\.ts$'] },
    },
    {
      name: 'tests-stay-outside',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/' },
      to: { path: ['^packages/[^/]+/test/', '^test/', '^bench/', '^fuzz/'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', '/dist/'] },
    exclude: { path: '^(?:packages/[^/]+|test|bench|fuzz)/dist/(?!src/index)' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'default'] },
  },
};
