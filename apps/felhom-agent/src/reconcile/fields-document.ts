import { managedFields } from './fields.ts';
import type { ManagedField } from './managed-field.ts';

/** docs/managed-fields.md: the table of managed fields in words. Written by `npm run docs`; a test holds the file to it. */
export function managedFieldsDocument(): string {
  return `${head}\n${summary()}\n${managedFields.map(section).join('\n')}\n${tail}`;
}

const head = `# Managed fields

This page is made from the table in apps/felhom-agent/src/reconcile by \`npm run docs\`; change the table, not the page.

What stands under \`desired\` in a guest's file is kept as declared; what does not stand there is not managed, and a person's
change to it stays. One table drives how a field is read, what counts as the same, what is written and this page.
\`felhom-agent config schema --guest\` prints the same for editors.

\`\`\`yaml
# guests.d/101-docker1.yaml
vmid: 101
desired: { state: running, cores: 4, memory: 4GiB, onboot: true }
\`\`\`
`;

function summary(): string {
  const rows = managedFields.map(
    ({ name, option, doc }) =>
      `| \`${name}\` | ${optionText(option.lxc)} | ${optionText(option.qemu)} | ${doc.takes} | ${doc.absent} | ${doc.right} |`,
  );
  return [
    '| field | container | VM | takes | where PVE has none | right |',
    '| --- | --- | --- | --- | --- | --- |',
    '| `state` | run state | run state | `running` or `stopped` | | VM.PowerMgmt |',
    ...rows,
    '',
  ].join('\n');
}

function optionText(option: string | null): string {
  return option === null ? 'none' : `\`${option}\``;
}

function section({ name, doc }: ManagedField): string {
  const effect =
    doc.effect.lxc === doc.effect.qemu ? doc.effect.lxc : `containers: ${doc.effect.lxc}; VMs: ${doc.effect.qemu}`;
  return `## ${name}\n\n- No drift: ${doc.same}.\n- Takes effect on a running guest: ${effect}.\n`;
}

const tail = `## Run state

\`state: running\` starts a guest that is stopped; \`state: stopped\` asks it to shut down and, when it does not within
\`bounds.shutdown\` (3 min), or its own \`startup: { down: … }\` where that is longer, stops it. A guest
that the HA manager of a cluster looks after keeps its run state; a template never runs.

Whoever stopped it: a guest that a person shuts down in the interface of Proxmox VE and that is declared running is started again by the
next pass. To work on it, take it first: \`felhom-agent guest hold 101 --reason WHY\`, and \`felhom-agent guest release 101\` afterwards.

## What is written

Only the options that differ, in one call with the \`digest\` of the configuration that was compared. Values that wait for a
restart are told apart from those in force: such a guest is in sync, and the plan says what takes effect later.
`;
