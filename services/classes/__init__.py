"""Labels that are classes: kinds of them, what came true, and what was said beforehand."""
