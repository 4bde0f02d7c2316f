/** build.mjs with stand-ins for the compiler and CMake: it never fails the install, and says what it did. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const ROOT = path.resolve(__dirname, "../..");

describe("build.mjs", () => {
  let folder: string;
  let bin: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "steerlab-build-"));
    bin = path.join(folder, "bin");
    mkdirSync(bin);
    mkdirSync(path.join(folder, "src", "cuda"), { recursive: true });
    for (const file of ["build.mjs", "CMakeLists.txt", "package.json"])
      cpSync(path.join(ROOT, "gpu-native", file), path.join(folder, file));
    symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
    writeFileSync(path.join(folder, "src", "one.cpp"), "int one() { return 1; }\n");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function program(name: string, script: string): void {
    writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(path.join(bin, name), 0o755);
  }

  /** A CMake that makes the artefact of the folder it is asked to build, or fails with `failure` for one part. */
  function fakeCmake(failingPart = ""): void {
    program(
      "cmake",
      `case "$*" in *--build*${failingPart || "no-part"}*) echo "one.cpp:1: error: no such thing"; exit 1;; esac
       echo "$*" >> ${folder}/calls
       if [ "$1" = "--build" ]; then case "$2" in *cuda) echo made > "$2/libsteerlab_cuda.so";; *) echo made > "$2/steerlab.node";; esac; fi`,
    );
  }

  function build(): { status: number | null; said: string } {
    const env = { PATH: `${bin}:/bin:/usr/bin/nowhere`, CXX: undefined, CUDA_HOME: undefined, CUDA_PATH: undefined };
    const result = spawnSync(process.execPath, ["build.mjs"], {
      cwd: folder,
      encoding: "utf8",
      env: { ...env } as NodeJS.ProcessEnv,
    });
    return { status: result.status, said: `${result.stdout}${result.stderr}` };
  }
  const artefact = (name: string): string => path.join(folder, "build", name);

  it("builds once, is up to date the second time, builds again after a change", () => {
    program("c++", "echo 'fake c++ 1.0'");
    fakeCmake();
    expect(build()).toMatchObject({ status: 0, said: expect.stringContaining("built steerlab.node") });
    expect(readFileSync(artefact("steerlab.node"), "utf8")).toBe("made\n");
    expect(build().said).toContain("steerlab.node is up to date");
    writeFileSync(path.join(folder, "src", "one.cpp"), "int one() { return 2; }\n");
    expect(build().said).toContain("built steerlab.node");
    expect(readFileSync(path.join(folder, "calls"), "utf8").trim().split("\n").length).toBe(4);
  });

  it("a failing compiler leaves the exit code 0, the log, and the errors on the screen", () => {
    program("c++", "echo 'fake c++ 1.0'");
    fakeCmake("addon");
    const { status, said } = build();
    expect(status).toBe(0);
    expect(said).toContain("warning: steerlab.node could not be built");
    expect(said).toContain("error: no such thing");
    expect(existsSync(artefact("addon.log"))).toBe(true);
    expect(existsSync(artefact("steerlab.node"))).toBe(false);
  });

  it("a failing CUDA part leaves the addon", () => {
    program("c++", "echo 'fake c++ 1.0'");
    program("nvcc", "echo 'fake nvcc'");
    writeFileSync(path.join(folder, "src", "cuda", "kernel.cu"), "");
    fakeCmake("cuda");
    const { status, said } = build();
    expect(status).toBe(0);
    expect(said).toContain("built steerlab.node");
    expect(said).toContain("warning: libsteerlab_cuda.so could not be built");
    expect(existsSync(artefact("steerlab.node"))).toBe(true);
  });

  it("without CMake it names the remedy and exits 0", () => {
    program("c++", "echo 'fake c++ 1.0'");
    const noSystem = spawnSync(process.execPath, ["build.mjs"], {
      cwd: folder,
      encoding: "utf8",
      env: { PATH: bin } as NodeJS.ProcessEnv,
    });
    expect(noSystem.status).toBe(0);
    expect(noSystem.stderr).toContain("no CMake found");
    expect(noSystem.stderr).toContain("npm run build");
  });
});
