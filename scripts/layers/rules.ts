/** One line of the architecture that the type checker and the linters cannot hold. Paths are relative to the root. */
export interface LayerRule {
  name: string;
  /** What breaks when the line is crossed. */
  why: string;
  /** The files it binds, and those of them that may. */
  files: RegExp;
  except?: RegExp;
  /** Modules that these files may not import. Types do not count: they are gone at run time. */
  imports?: RegExp;
  /** Text that may not stand in them outside of comments. */
  text?: RegExp;
  /** Whether an `import()` is meant too, or only what is loaded at once. */
  dynamic?: 'forbidden' | 'allowed';
}

const effects = /^(node:(fs|fs\/promises|child_process|net|http|https|tls|dgram)|undici|execa|pino|write-file-atomic)$/;

export const layerRules: readonly LayerRule[] = [
  {
    name: 'planning is pure',
    why: 'a planner that acts cannot be tested as a function, nor planned twice',
    files:
      /^(apps\/[^/]+\/src\/.*\/|apps\/[^/]+\/src\/)([a-z-]*plan|grade|grading|due|preflight-rules)\.ts$|^apps\/felhom-agent\/src\/operations\/(check|judge|acts|record|payload|draft|explain)\.ts$|^packages\/phases\/src\/machine/,
    imports: effects,
  },
  {
    name: 'only wiring builds adapters',
    why: 'the crash simulation wraps every port: an adapter made elsewhere escapes it',
    files: /^apps\/[^/]+\/src\//,
    except: /\/wiring\.ts$|\.test\.ts$/,
    text: /\b(systemCommands|systemClock)\b/,
  },
  {
    name: 'programs start in the command runner',
    why: 'a program started elsewhere has no bound, no process group and no redaction',
    files: /^(apps|packages)\/[^/]+\/src\//,
    except:
      /^packages\/(kernel\/src\/command-runner\.ts|durable\/src\/(run-lock|scratch-disk)\.ts|pinned-tls\/src\/testing\/.*|pve-sim\/.*)$|\/adapters\/guard\.ts$|\.test\.ts$/,
    imports: /^(execa|node:child_process)$/,
  },
  {
    name: 'engine is the one door to docker',
    why: 'what runs is believed only from one place, with one set of bounds',
    files: /^apps\/[^/]+\/src\//,
    except: /^apps\/felhom-controller\/src\/(engine\/|wiring\.ts$)|\.test\.ts$/,
    text: /docker\.sock|\b(command|program|file):\s*['"`](\/usr\/bin\/)?docker['"`]|['"`](\/usr\/bin\/)?docker['"`],\s*\[/,
  },
  {
    name: 'the simulator knows no code of ours',
    why: 'client and simulator would agree on the same misunderstanding of Proxmox VE',
    files: /^packages\/pve-sim\/src\//,
    imports: /^@felhom\/(?!pve-sim\/)|^felhom-|(^|\/)\.\.\/\.\.\/\.\.\//,
  },
  {
    name: 'start-up loads commander only',
    why: '--help would pay for what only one command needs',
    files: /^apps\/[^/]+\/src\/(main\.ts|program\.ts|program\/.*)$/,
    imports:
      /^(undici|execa|zod|yaml|pino|write-file-atomic)$|^@felhom\/(proxmox|durable|guest-api|phases|pinned-tls|signed-document)\//,
    dynamic: 'allowed',
  },
];
