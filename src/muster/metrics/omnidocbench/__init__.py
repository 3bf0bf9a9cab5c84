"""OmniDocBench: a page's Markdown against its annotated elements, by the authors' evaluation of version 1.5."""
