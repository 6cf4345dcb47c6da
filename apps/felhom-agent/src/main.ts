import { runMain } from '@felhom/cli/run-main.ts';
import { buildProgram } from './program.ts';

// Everything that a command needs besides words is loaded by that command: --help loads nothing else.
// No top-level await: the bundles are CommonJS, which starts faster (docs/adr/0004).
void runMain({ argv: process.argv.slice(2), build: (setExit) => buildProgram({ setExit }) }).then((code) =>
  process.exit(code),
);
