#!/usr/bin/env node
// What npx finds before anything is built; `npm start` builds what this runs.
import "../dist/src/main.js";
