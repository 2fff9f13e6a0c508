"""One run, from its settings to its report, in a folder that resumes."""
