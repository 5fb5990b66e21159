// The layer rule: wire ← core ← {crypto, engine} ← {client, server, relay} ← cli.
const layer = (name, allowed) => ({
  name: `layer-${name}`,
  severity: 'error',
  comment: `src/${name} may import only ${allowed.join(', ') || 'itself'}`,
  from: { path: `^src/${name}/`, pathNot: '[.]test[.]ts$' },
  to: { path: '^src/', pathNot: `^src/(${[name, ...allowed].join('|')})/` },
});

module.exports = {
  forbidden: [
    layer('wire', []),
    layer('core', ['wire']),
    layer('crypto', ['wire', 'core']),
    layer('engine', ['wire', 'core', 'crypto']),
    layer('client', ['wire', 'core', 'crypto', 'engine']),
    layer('server', ['wire', 'core', 'crypto']),
    layer('relay', ['wire', 'core', 'crypto', 'engine']),
    layer('cli', ['wire', 'core', 'crypto', 'engine', 'client', 'server', 'relay']),
    {
      name: 'sans-io',
      severity: 'error',
      comment: 'wire and core know no operating system',
      from: { path: '^src/(wire|core)/', pathNot: '[.]test[.]ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'src-stands-alone',
      severity: 'error',
      comment: 'the product never imports its laboratory',
      from: { path: '^src/', pathNot: '[.]test[.]ts$' },
      to: { path: '^(sim|lab|bench|test|scripts)/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['dynamic-import'] } },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { conditionNames: ['import', 'node', 'default'] },
  },
};
