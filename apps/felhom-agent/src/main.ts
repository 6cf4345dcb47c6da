import { runMain } from '@felhom/cli/run-main.ts';
import { buildProgram } from './program.ts';

// Everything that a command needs besides words is loaded by that command: --help loads nothing else.
process.exit(await runMain({ argv: process.argv.slice(2), build: (setExit) => buildProgram({ setExit }) }));
