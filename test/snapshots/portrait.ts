import { must } from '../lab/process.ts';

/**
 * Everything that must come back, as text: names, kinds, owners, modes, times, link targets, how many names a file has,
 * contents, ACLs and extended attributes.
 */
export async function portrait(folder: string): Promise<string> {
  const script = `cd "$0" || exit 1
find . -printf '%P|%y|%m|%U:%G|%T@|%l|%n|' '(' -type f -printf '%s' -o -printf '-' ')' -printf '\\n' | LC_ALL=C sort
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
find . -print0 | LC_ALL=C sort -z | xargs -0 -r getfacl -P -n 2>/dev/null
find . -print0 | LC_ALL=C sort -z | xargs -0 -r getfattr -h -d -m - -e hex 2>/dev/null
find . -type f -links +1 -printf '%i %P\\n' | LC_ALL=C sort -k2 | awk '{ if (!($1 in n)) n[$1] = ++k; print n[$1], $2 }'`;
  return await must('sh', ['-c', script, folder]);
}

/** Fills a folder with everything that copying gets wrong. */
export async function makeMuseum(folder: string): Promise<void> {
  const script = `set -e; cd "$0"; umask 022
echo plain >plain; chmod 0640 plain; chown 1234:5678 plain
echo suid >suid; chown 70:70 suid; chmod 4755 suid
echo secret >secret; chmod 0000 secret
mkdir sticky; chmod 1777 sticky; mkdir -p deep/er; chmod 2750 deep; chown 999:999 deep/er
echo one >deep/er/one; ln deep/er/one other-name; ln deep/er/one sticky/third-name
ln -s deep/er/one inside; ln -s /dev/stdout outside; ln -s nowhere dangling; chown -h 33:33 dangling
truncate --size 40M holes; printf middle | dd of=holes bs=1 seek=20000000 conv=notrunc status=none
mkfifo pipe; chmod 0660 pipe
printf 'odd' >"$(printf 'we\\nird "na\\tme\\\\ \\303\\244')"
: >empty; mkdir empty-folder
setfattr -n user.colour -v blue plain; setfattr -n user.shape -v round deep
setfacl -m u:4321:rw plain; setfacl -d -m g:8765:rx deep; setfacl -m u:4321:rx deep
perl -e 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Local => "socket", Listen => 1) or die'
touch -d '2020-02-02 02:02:02.123456789' plain deep
chown 4242:4343 .; chmod 0711 .; setfattr -n user.of -v root .`;
  await must('sh', ['-c', script, folder]);
}
